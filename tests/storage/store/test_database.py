from __future__ import annotations

import asyncio

import pytest
from pymongo import ReadPreference
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    InvalidOperation,
    OperationFailure,
)

from orderbook_desktop.core.errors import BugError
from orderbook_desktop.storage.errors import NewerSchema, UnknownSchema
from orderbook_desktop.storage.failures import Activity
from orderbook_desktop.storage.store.database import Database
from tests.storage.recording_fixtures import ENDLESS, ServerThread, SilentServer


async def test_connects_writes_by_majority_and_closes(database: Database) -> None:
    await database.until_connected()
    await database.prepare()
    assert database.prepared
    assert database.motor.write_concern.document == {"w": "majority"}
    assert database.motor.name == database.name
    database.close()
    assert not database.prepared
    with pytest.raises(BugError):
        database.collection("depth_events")
    database.close()


async def test_what_it_reads_is_what_was_written(server: ServerThread) -> None:
    """Also on a replica set whose DSN sends readers to its secondaries."""
    database = Database("book")
    database.connect(f"{server.dsn}&readPreference=secondaryPreferred")
    assert database.collection("depth_events").read_preference == ReadPreference.PRIMARY
    database.close()


async def test_until_connected_waits() -> None:
    database = Database("later")
    waiting = asyncio.create_task(database.until_connected())
    await asyncio.sleep(0)
    assert not waiting.done()
    database.connect("mongodb://127.0.0.1:9/?directConnection=true")
    await waiting
    database.close()


async def test_closing_does_not_wait_for_a_server_that_is_silent(
    silent_server: SilentServer,
) -> None:
    # Long, so that the test hangs if it waits for this.
    database = Database("silent", ENDLESS)
    database.connect(silent_server.dsn)
    asking = asyncio.ensure_future(database.collection("meta").find_one())
    await silent_server.until_somebody_came()
    database.close()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.allows_log("WARNING")
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (AutoReconnect("x"), "can't be reached; events wait in memory until it is back"),
        (InvalidOperation("closed"), "can't be reached"),
        (
            OperationFailure(
                "x.wt: open: Too many open files", 1, {"errmsg": "Too many open files"}
            ),
            r"refuses to work \(Too many open files\)",
        ),
        (OperationFailure("x", 14031), "disk is full"),
        (OperationFailure("No space left on device"), "disk is full"),
        (OperationFailure("x", 13, {"codeName": "Unauthorized"}), r"refuses to work \(Unauthor"),
        (OperationFailure("x", 5), r"\(code 5\)"),
        (BulkWriteError({"writeErrors": [{"code": 121, "errmsg": "bad"}]}), r"\(bad\)"),
        (BulkWriteError({"writeConcernErrors": [{"codeName": "Slow"}]}), r"\(Slow\)"),
        (ConfigurationError("x"), r"failed \(ConfigurationError\)"),
        (NewerSchema(7, 2), "newer version"),
        (UnknownSchema("'x'"), r"schema is damaged \('x'\)"),
        (TypeError("x"), r"fault of this program .*\(TypeError"),
    ],
)
def test_failures_become_a_sentence(error: Exception, sentence: str) -> None:
    database = Database("book")
    database.failed(Activity.WRITE, error)
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(database.problem)
    assert database.problem.endswith(".")


@pytest.mark.expects_log("WARNING .*stands still")
@pytest.mark.expects_log("WARNING .*events wait")
def test_each_activity_has_its_own_problem() -> None:
    database = Database("book")
    database.failed(Activity.FOLLOW, AutoReconnect("x"))
    database.failed(Activity.WRITE, AutoReconnect("x"))
    database.worked(Activity.WRITE)
    assert "stands still" in database.problem
    database.worked(Activity.FOLLOW)
    assert database.problem == ""
