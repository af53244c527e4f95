"""The doctor reports all findings in bounded time, for each kind of failure."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from orderbook_desktop.app.commands import doctor
from orderbook_desktop.app.commands.doctor import (
    DoctorTimes,
    Finding,
    Verdict,
    examine,
    reset_database_password,
    run_doctor,
)
from orderbook_desktop.app.settings import Settings, load_settings
from orderbook_desktop.storage.errors import UnknownToServer
from orderbook_desktop.storage.server.server import DatabaseServer

_BAD_DSN = "mongodb://me:s3cret@127.0.0.1:1/"
# The machine may be busy.
_TIMES = DoctorTimes(check_s=30.0, close_s=30.0, event_s=30.0)


def _by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


async def test_all_is_well(settings: Settings) -> None:
    found = await examine(settings, _TIMES)
    verdicts = {finding.check: finding.verdict for finding in found}
    assert verdicts == dict.fromkeys(
        [
            *("program", "screen", "data folder", "retention"),
            *("exchange, REST", "exchange, streams", "database"),
        ],
        Verdict.GOOD,
    )
    assert "can be started and answers at mongodb://" in _by_name(found)["database"].text


async def test_the_database_of_a_running_copy_is_named_as_such(settings: Settings) -> None:
    async with DatabaseServer(settings.data_dir) as running:
        found = _by_name(await examine(settings, _TIMES))["database"]
        assert found.verdict is Verdict.GOOD
        assert "which another copy of this program runs, answers at" in found.text
        elsewhere = settings.model_copy(update={"mongo_dsn": running.dsn})
        found = _by_name(await examine(elsewhere, _TIMES))["database"]
        assert found.verdict is Verdict.GOOD
        assert "the server that MONGO_DSN names answers at" in found.text


@pytest.mark.allows_log(r"WARNING .*exchange")
def test_everything_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    settings = load_settings(
        rest_url="http://127.0.0.1:1", ws_url="ws://127.0.0.1:1", data_dir=str(blocked)
    )
    assert run_doctor(settings, as_json=True) == 1
    findings = {one["check"]: one for one in json.loads(capsys.readouterr().out)}
    bad = {name for name, one in findings.items() if one["verdict"] == "failed"}
    assert bad == {"data folder", "exchange, REST", "exchange, streams", "database"}
    assert "ORDERBOOK_DATA_DIR" in findings["data folder"]["text"]
    assert "ORDERBOOK_DATA_DIR" in findings["database"]["text"]
    assert "can't be reached" in findings["exchange, REST"]["text"]
    assert "Trying again" not in json.dumps(findings)


@pytest.mark.allows_log(r"WARNING .*exchange")
async def test_a_symbol_that_is_not_traded(settings: Settings) -> None:
    times = replace(_TIMES, event_s=0.3)
    found = _by_name(await examine(settings.model_copy(update={"symbol": "NO/NE"}), times))
    assert found["exchange, REST"].verdict is Verdict.BAD
    assert "doesn't trade" in found["exchange, REST"].text
    assert found["exchange, streams"].verdict is Verdict.WARNING
    assert "sent nothing on NO/NE" in found["exchange, streams"].text


@pytest.mark.allows_log(r"WARNING .*exchange")
async def test_nothing_answers(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = load_settings(
            rest_url=f"http://{address}",
            ws_url=f"ws://{address}",
            mongo_dsn=f"mongodb://me:s3cret@{address}/",
            data_dir=str(tmp_path),
        )
        async with asyncio.timeout(60):
            found = _by_name(await examine(settings, replace(_TIMES, check_s=0.5)))
    for name in ("exchange, REST", "exchange, streams", "database"):
        assert found[name] == Finding(name, Verdict.BAD, "no answer within 0 s")


@pytest.mark.expects_log("the database server did not end within")
async def test_a_slow_end_of_the_database_is_no_finding(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = DatabaseServer.close

    async def close_slowly(server: DatabaseServer) -> None:
        await close(server)
        await asyncio.Event().wait()

    monkeypatch.setattr(DatabaseServer, "close", close_slowly)
    found = _by_name(await examine(settings, replace(_TIMES, close_s=3.0)))
    assert found["database"].verdict is Verdict.GOOD


@pytest.mark.allows_log(r"WARNING .*exchange")
async def test_a_password_is_not_shown(stranded: Settings) -> None:
    found = _by_name(
        await examine(
            stranded.model_copy(update={"mongo_dsn": f"{_BAD_DSN}?serverSelectionTimeoutMS=300"}),
            _TIMES,
        )
    )
    assert found["database"].verdict is Verdict.BAD
    assert "does not answer" in found["database"].text
    assert "s3cret" not in found["database"].text


@pytest.mark.expects_log(r"ERROR .*doctor: the check of exchange, REST failed")
async def test_a_bug_in_one_check_leaves_the_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_given: object) -> Finding:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(doctor, "_rest", fail)
    found = _by_name(await examine(settings, _TIMES))
    assert "ZeroDivisionError: a bug" in found["exchange, REST"].text
    assert found["exchange, streams"].verdict is Verdict.GOOD


def test_the_text_has_one_line_for_each_finding(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def findings(_settings: Settings) -> list[Finding]:
        return [
            Finding("one", Verdict.GOOD, "fine"),
            Finding("two", Verdict.WARNING, "so so [x]"),
        ]

    monkeypatch.setattr(doctor, "examine", findings)
    assert run_doctor(load_settings(data_dir=str(tmp_path)), as_json=False) == 0
    assert capsys.readouterr().out == "     ok  one: fine\nwarning  two: so so [x]\n"


@pytest.mark.parametrize(
    ("low_gb", "verdict", "text"),
    [
        (1_000_000, Verdict.BAD, "nothing is recorded below 250.0 TB: make room"),
        (0, Verdict.GOOD, " free"),
    ],
)
def test_a_full_disk_is_reported_in_the_window_s_words(
    tmp_path: Path, low_gb: float, verdict: Verdict, text: str
) -> None:
    found = doctor._data_folder(load_settings(data_dir=str(tmp_path), low_disk_gb=low_gb))
    assert found.verdict is verdict
    assert found.text.endswith(text)
    assert "GiB" not in found.text


def test_the_retention_is_reported(tmp_path: Path) -> None:
    settings = load_settings(data_dir=str(tmp_path), retention_days=30, retention_gb="2.5")
    assert doctor._retention(settings).text == "the last 30 days are kept, at most 2.5 GB"
    default = doctor._retention(load_settings(data_dir=str(tmp_path)))
    assert default.text.startswith("everything is kept, unless the window")


def test_the_password_of_mongo_dsn_is_not_reset(tmp_path: Path) -> None:
    settings = load_settings(data_dir=str(tmp_path), mongo_dsn=_BAD_DSN)
    with pytest.raises(typer.BadParameter, match="not the program's own"):
        reset_database_password(settings)


def test_a_lost_password_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def start_and_stop() -> None:
        async with DatabaseServer(tmp_path):
            pass

    asyncio.run(start_and_stop())
    (tmp_path / "database" / "secantus.password").unlink()
    with pytest.raises(UnknownToServer):
        asyncio.run(start_and_stop())
    reset_database_password(load_settings(data_dir=str(tmp_path)))
    assert "a new password" in capsys.readouterr().err
    asyncio.run(start_and_stop())
