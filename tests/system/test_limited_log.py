from __future__ import annotations

from pathlib import Path

import pytest

from orderbook_desktop.system.limited_log import LimitedLog


def test_two_files_of_limited_size_hold_the_newest_lines(tmp_path: Path) -> None:
    for run in (b"a", b"b"):
        log = LimitedLog(tmp_path / "log", limit=100)
        for number in range(50):
            log.write(b"%s %d\n" % (run, number))
        log.close()
    older, newer = (tmp_path / "log.1").read_bytes(), (tmp_path / "log").read_bytes()
    assert max(len(older), len(newer)) <= 100
    assert (older + newer).endswith(b"b 48\nb 49\n")
    assert {path.name for path in tmp_path.iterdir()} == {"log", "log.1"}


def test_it_goes_on_where_the_last_run_ended(tmp_path: Path) -> None:
    for line in (b"one\n", b"two\n"):
        log = LimitedLog(tmp_path / "log", limit=100)
        log.write(line)
        log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


@pytest.mark.expects_log("log cannot be written")
def test_a_disk_that_fails_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = LimitedLog(tmp_path / "missing" / "log", limit=100)
    for _ in range(3):
        log.write(b"lost\n")
    assert len(caplog.records) == 1
    (tmp_path / "missing").mkdir()
    log.write(b"kept\n")
    log.close()
    assert (tmp_path / "missing" / "log").read_bytes() == b"kept\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
@pytest.mark.expects_log("No space left on device")
def test_a_full_disk_fails_nobody(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    log = LimitedLog(tmp_path / "log", limit=100)
    log.write(b"lost\n")
    log.close()
