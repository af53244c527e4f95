"""The command line: each failure is one sentence with an exit code."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from orderbook_desktop import __version__
from orderbook_desktop.app import cli
from orderbook_desktop.app.commands import exchange as exchange_command

pytestmark = [
    pytest.mark.usefixtures("own_logging"),
    # The log tells the sentence of a known failure, too.
    pytest.mark.allows_log(r"WARNING .*cli: ending"),
]

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs the command line and returns the exit code."""

    def leave(code: int) -> NoReturn:
        raise SystemExit(code)

    def run_with(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["orderbook-desktop", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert isinstance(end.value.code, int)
        return end.value.code

    monkeypatch.setattr(cli, "leave", leave)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setenv("ORDERBOOK_DATA_DIR", str(tmp_path / "data"))
    return run_with


def test_the_version(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"orderbook-desktop {__version__}\n"


@pytest.mark.parametrize("command", [[], ["record"], ["exchange"], ["doctor"]])
def test_help_names_the_settings(
    run: Run, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert run(*command, "--help") == 0
    assert "--data-dir" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("", "COMMAND [ARGS]..."),
        ("record", "[SYMBOL]..."),
        ("serve", "[SYMBOL]..."),
        ("recordings", "[OPTIONS]"),
        ("verify", "SYMBOL"),
        ("export", "SYMBOL"),
        ("import", "FILE"),
        ("exchange", "[OPTIONS]"),
        ("replay", "SYMBOL"),
        ("doctor", "[OPTIONS]"),
    ],
)
def test_help_names_no_types_of_python(
    run: Run, capsys: pytest.CaptureFixture[str], command: str, arguments: str
) -> None:
    assert run(*command.split(), "--help") == 0
    text = capsys.readouterr().out
    assert arguments in next(line for line in text.splitlines() if "Usage:" in line)
    for name in ("<bool>", "<str>", "<int", "<float", "list[", "Path"):
        assert name not in text


def test_a_wrong_command_line(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recrod") == 2
    assert run("record") == 2
    assert run("exchange", "--port", "70000") == 2
    assert run("--demo", "doctor") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_moment_to_replay_that_is_none(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--replay", "teatime") == 2
    output = " ".join(capsys.readouterr().err.split())
    assert "teatime" in output
    assert "is not a time such as" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--symbol", "?"], "--symbol is '?', but must be a spot symbol such as BTC/USDT."),
        (["record", "B TC"], "SYMBOL is 'B TC', but must be a spot symbol such as BTC/USDT."),
        (["exchange", "--play", "nothing.gz"], "The capture cannot be played"),
        (["exchange", "--play", __file__], "The capture cannot be played: line 1 of"),
    ],
)
def test_a_known_failure(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert run(*arguments) == 1
    output = capsys.readouterr().err
    assert output.startswith(f"orderbook-desktop: {sentence}")
    assert output.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--token", "a-secret-that-is-seen"],
        ["serve", "--token-file", "nothing"],
        ["recordings", "--mongo-dsn=mongodb://me:a-secret-that-is-seen@127.0.0.1/"],
        ["verify", "BTC/USDT", "--mongo-dsn-file", "nothing"],
        ["--mongo-dsn", "mongodb://me:a-secret-that-is-seen@127.0.0.1/"],
    ],
)
def test_a_secret_that_is_given_wrongly(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(*arguments) == 2
    output = capsys.readouterr().err
    assert output.startswith("orderbook-desktop: --")
    assert output.count("\n") == 1
    assert "a-secret-that-is-seen" not in output


@pytest.mark.expects_log(r"ERROR .*cli: unexpected exception")
def test_a_bug_is_one_sentence_and_a_traceback_in_the_log(
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def fail(*_arguments: object, **_options: object) -> int:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(exchange_command, "run_exchange", fail)
    assert run("exchange", "--port", "0") == 70
    log = tmp_path / "data" / "logs" / "production.log"
    output = capsys.readouterr().err
    assert output == (
        "orderbook-desktop: this should not have happened (ZeroDivisionError: a bug); "
        f"the details are in {log}.\n"
    )
    assert "Traceback (most recent call last)" in log.read_text(encoding="utf-8")


@pytest.mark.allows_log("cli: unexpected exception")
@pytest.mark.allows_log("WARNING .*log_files: no log file")
def test_a_bug_without_a_log_file_is_one_sentence(
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def fail(*_arguments: object, **_options: object) -> int:
        raise ZeroDivisionError("a bug")

    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ORDERBOOK_DATA_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(exchange_command, "run_exchange", fail)
    assert run("exchange", "--port", "0") == 70
    assert capsys.readouterr().err == (
        "orderbook-desktop: this should not have happened (ZeroDivisionError: a bug); "
        "there is no log file.\n"
    )


@pytest.mark.expects_log(r"ERROR .*cli: unexpected exception in thread")
def test_a_thread_that_fails_prints_no_traceback(
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # As the driver's do where the system gives no further thread.
    def fail() -> None:
        raise RuntimeError("no further thread")

    def run_exchange(*_arguments: object, **_options: object) -> int:
        thread = threading.Thread(target=fail, name="of-the-driver")
        thread.start()
        thread.join()
        return 0

    monkeypatch.setattr(exchange_command, "run_exchange", run_exchange)
    assert run("exchange", "--port", "0") == 0
    assert capsys.readouterr().err == ""
    log = tmp_path / "data" / "logs" / "production.log"
    assert "of-the-driver" in log.read_text(encoding="utf-8")


def test_no_screen(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform != "linux":
        pytest.skip("there is always a screen")
    for name in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert run() == 1
    assert capsys.readouterr().err.startswith("orderbook-desktop: There is no screen")
