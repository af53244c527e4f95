"""The log: its places, several programs that share it, and a file that can't be written."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from orderbook_desktop.app.process import log_files
from orderbook_desktop.app.process.log_files import SharedLogFile, begin_log, current_log, log_path
from orderbook_desktop.app.settings import load_settings

pytestmark = pytest.mark.usefixtures("own_logging")

_log = logging.getLogger("orderbook_desktop.test")


def test_records_go_to_the_file_and_not_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(data_dir=str(tmp_path))
    begin_log(settings)
    _log.info("an event of note")
    assert "an event of note" in log_path(settings).read_text(encoding="utf-8")
    assert current_log() == str(log_path(settings))
    assert capsys.readouterr().err == ""


def test_development_logs_everything_also_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(data_dir=str(tmp_path), env="development")
    begin_log(settings)
    _log.debug("a detail")
    assert "a detail" in log_path(settings).read_text(encoding="utf-8")
    assert "a detail" in capsys.readouterr().err


@pytest.mark.allows_log("an error of note")
@pytest.mark.expects_log("WARNING .*no log file")
def test_the_terminal_gets_no_traces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    for folder in (tmp_path / "data", blocked):
        begin_log(load_settings(data_dir=str(folder)))
        _log.critical("an error of note", exc_info=ZeroDivisionError("a bug"))
        told = capsys.readouterr().err
        assert "an error of note" in told
        assert "ZeroDivisionError" not in told
    assert "ZeroDivisionError" in (tmp_path / "data" / "logs" / "production.log").read_text()


@pytest.mark.allows_log("an error of note")
@pytest.mark.expects_log("WARNING .*no log file")
def test_without_a_file_the_terminal_gets_the_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    begin_log(load_settings(data_dir=str(blocked)))
    _log.info("a trifle")
    _log.error("an error of note")
    output = capsys.readouterr().err
    assert "an error of note" in output
    assert "a trifle" not in output
    assert current_log() == ""


def test_two_copies_share_a_limited_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "_FILE_BYTES", 200)
    path = tmp_path / "logs" / "shared.log"
    copies = [SharedLogFile(path), SharedLogFile(path)]
    for number in range(20):
        copies[number % 2].emit(logging.makeLogRecord({"msg": f"record {number} {'x' * 20}"}))
    for copy in copies:
        copy.close()
    files = sorted(path.parent.iterdir())
    assert len(files) == 4
    assert all(file.stat().st_size <= 200 for file in files)
    # No record of one program was lost while the other renamed the file.
    kept = "".join(file.read_text() for file in reversed(files))
    numbers = [int(line.split()[1]) for line in kept.splitlines()]
    assert numbers == list(range(numbers[0], 20))


def test_no_text_in_a_record_moves_the_terminal_s_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(data_dir=str(tmp_path), env="development")
    begin_log(settings)
    _log.info("the exchange said \x1b[2J\x9b\x07\r\u202e%s", "币安人生\x1b]0;title\x07")
    for output in (log_path(settings).read_text(encoding="utf-8"), capsys.readouterr().err):
        assert "the exchange said ?[2J????币安人生?]0;title?\n" in output


@pytest.mark.expects_log("an error of note")
def test_only_a_fault_has_a_trace(tmp_path: Path) -> None:
    settings = load_settings(data_dir=str(tmp_path))
    begin_log(settings)
    error = ZeroDivisionError("a bug")
    _log.info("a library's information", exc_info=error, stack_info=True)
    assert "Traceback" not in log_path(settings).read_text()
    _log.error("an error of note", exc_info=error)
    assert "Traceback" not in log_path(settings).read_text().partition("an error of note")[0]
    assert "ZeroDivisionError: a bug" in log_path(settings).read_text()
