"""A recording of an earlier version is read, proven and continued as that version did it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderbook_desktop.storage.store.database import Database
from tests.storage.archive_fixtures import copy_of
from tests.storage.earlier_database import (
    comparable,
    earlier_databases,
    go_on,
    read,
    restore,
    told_of,
)


def test_there_is_one() -> None:
    assert earlier_databases()


@pytest.mark.expects_log("WARNING .*BTCUSDT: the recording up to .* ended without being closed")
@pytest.mark.parametrize("path", earlier_databases(), ids=lambda path: path.name)
async def test_it_is_read_proven_and_continued(database: Database, path: Path) -> None:
    earlier = read(path)
    known = frozenset(one["_id"] for one in earlier["before"]["segments"])
    await restore(database, earlier["before"])
    assert await told_of(database) == earlier["told"]["before"]
    await go_on(database, earlier["lines"])
    assert await told_of(database) == earlier["told"]["after"]
    now, then = (comparable(one, known) for one in (await copy_of(database), earlier["after"]))
    assert now.keys() == then.keys()
    for name, documents in then.items():
        assert now[name] == documents, name
