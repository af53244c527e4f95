"""The program with a window: its memory, and its quick end in all states."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import QEvent, QSettings
from PySide6.QtGui import QFileOpenEvent
from PySide6.QtWidgets import QApplication

from orderbook_desktop.app.settings import Settings, load_settings
from orderbook_desktop.app.window import (
    FileOpener,
    ProgramStorage,
    first_source,
    first_symbol,
    storage_text,
    window_memory,
    with_remembered_retention,
)
from orderbook_desktop.core.disk import DiskStatus, Retention
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.desk.program import Program
from orderbook_desktop.formats.packed_file import PackedWriter
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.storage.store.packed_store import PACKED_SCHEMA
from tests.storage.processes import ROOT
from tests.unhurried import DESK_TIMES

# The program's own limit is less than 3 s. A shared machine may take longer, so the test allows
# ten times as much.
_CLOSED_WITHIN_S = 60.0

posix = pytest.mark.skipif(sys.platform == "win32", reason="ended by a signal")


@contextmanager
def _window(
    settings: Settings, *arguments: str, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    given = {
        "QT_QPA_PLATFORM": "offscreen",
        "ORDERBOOK_REST_URL": settings.rest_url,
        "ORDERBOOK_WS_URL": settings.ws_url,
        "ORDERBOOK_DATA_DIR": str(settings.data_dir),
        "MONGO_DSN": settings.mongo_dsn,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.app.unhurried_program", *arguments],
        env={**os.environ, **given, **(variables or {})},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _log(settings: Settings) -> str:
    path = settings.data_dir / "logs" / "production.log"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _wait_for(settings: Settings, text: str) -> None:
    deadline = time.monotonic() + 100
    while text not in _log(settings):
        assert time.monotonic() < deadline, _log(settings)
        time.sleep(0.02)


def _until_it_listens(process: subprocess.Popen[str]) -> None:
    """Wait until the program handles requests to end; there is no log that says so."""
    deadline = time.monotonic() + 100
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        time.sleep(2)
    while status.exists() and time.monotonic() < deadline:
        caught = next(line for line in status.read_text().splitlines() if "SigCgt" in line)
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.02)
    assert process.poll() is None
    assert time.monotonic() < deadline


def _end(settings: Settings, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> None:
    """Ask the program to end; check that it and its children end in time.

    It says nothing but how many events could not be written, which its log says, too.
    """
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    output, _ = process.communicate(timeout=_CLOSED_WITHIN_S)
    losses = [line for line in output.splitlines() if line.endswith("written before the end.")]
    assert (process.returncode, output.splitlines()) == (0, losses)
    is_demo = "--demo" in process.args if isinstance(process.args, list) else False
    assert bool(losses) == ("could not be written before the end" in _log(settings)) or is_demo
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    assert "not everything ended" not in _log(settings)


@pytest.mark.cold_start
@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_window_ends_while_all_is_well(settings: Settings, number: int) -> None:
    with _window(settings, variables={"PATIENT_PARTS": "1"}) as process:
        _wait_for(settings, "database ready")
        time.sleep(0.5)  # The request comes in the middle of the program's work.
        _end(settings, process, number)
    assert "ERROR" not in _log(settings)
    assert "did not end" not in _log(settings)


_WITHOUT_SCREEN = """
import asyncio, sys
from PySide6.QtWidgets import QApplication
from orderbook_desktop.app import cli, window

async def show(application, settings, times, options):
    # So does Qt where its connection to the screen breaks.
    asyncio.get_running_loop().call_soon(QApplication.exit, 1)
    await asyncio.Event().wait()

window._show = show
cli.main()
"""


def test_a_screen_that_goes_away_is_reported(settings: Settings) -> None:
    variables = {"QT_QPA_PLATFORM": "offscreen", "ORDERBOOK_DATA_DIR": str(settings.data_dir)}
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_SCREEN],
        env={**os.environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("orderbook-desktop: The screen went away, and the window with it")
    assert "Traceback" not in done.stderr


@posix
def test_the_window_ends_while_the_database_starts(settings: Settings) -> None:
    with _window(settings) as process:
        while not (settings.data_dir / "database" / "secantus.toml").exists():
            time.sleep(0.005)
        _end(settings, process)


@posix
def test_the_window_ends_while_the_exchange_is_out_of_reach(stranded: Settings) -> None:
    with _window(stranded) as process:
        _wait_for(stranded, "can't be reached")
        _end(stranded, process)


@posix
def test_the_window_ends_while_exchange_and_database_are_silent(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = load_settings(
            rest_url=f"http://{address}",
            ws_url=f"ws://{address}",
            mongo_dsn=f"mongodb://{address}/",
            data_dir=str(tmp_path),
        )
        with _window(settings) as process, silent.accept()[0]:
            time.sleep(0.3)
            _end(settings, process)


@posix
def test_the_window_ends_while_the_database_hangs(settings: Settings) -> None:
    with _window(settings) as process:
        _wait_for(settings, "database ready")
        for child in psutil.Process(process.pid).children():
            child.suspend()
        time.sleep(0.3)
        _end(settings, process)


@posix
def test_the_window_ends_during_the_start_of_the_demo(stranded: Settings) -> None:
    with _window(stranded, "--demo") as process:
        while not (stranded.data_dir / "logs" / "demo.log").exists():
            time.sleep(0.005)
        _end(stranded, process)


@posix
def test_nothing_is_left_of_a_killed_demo(stranded: Settings) -> None:
    with _window(stranded, "--demo") as process:
        _wait_for(stranded, "database ready")
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 2
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []


@posix
def test_the_window_starts_on_a_folder_that_is_a_file_and_with_a_broken_memory(
    stranded: Settings,
) -> None:
    stranded.data_dir.write_text("not a folder")
    with _window(stranded) as process:
        _until_it_listens(process)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=_CLOSED_WITHIN_S)
    assert process.returncode == 0
    assert "Traceback" not in output


@posix
def test_the_window_remembers_the_symbol_and_the_source(settings: Settings) -> None:
    with _window(settings, "--symbol", "ETH/USDT", "--source", "direct") as process:
        # The window remembers only traded symbols.
        _wait_for(settings, "the exchange trades")
        _wait_for(settings, "database ready")
        _end(settings, process)
    preferences = Preferences(window_memory(settings))
    assert preferences.symbol == "ETH/USDT"
    assert preferences.recents == ("ETH/USDT",)
    assert preferences.source is SourceKind.DIRECT


def _remember(settings: Settings, symbol: str, source: SourceKind) -> Preferences:
    preferences = Preferences(window_memory(settings))
    preferences.symbol, preferences.source = symbol, source
    return preferences


def test_a_remembered_symbol_beats_the_default(stranded: Settings) -> None:
    preferences = _remember(stranded, "SOL/USDT", SourceKind.DIRECT)
    assert first_symbol(stranded, preferences) == "SOL/USDT"
    assert first_source(stranded, preferences) is SourceKind.DIRECT


@posix
def test_only_this_user_can_read_the_window_s_memory(stranded: Settings) -> None:
    store = window_memory(stranded)
    Preferences(store).symbol = "SOL/USDT"
    store.sync()
    path = stranded.data_dir / "window.ini"
    assert "SOL/USDT" in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_given_settings_beat_the_window_s_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYMBOL", "BTC/USDT")
    settings = load_settings(source="mongo", data_dir=str(tmp_path))
    preferences = _remember(settings, "SOL/USDT", SourceKind.DIRECT)
    assert first_symbol(settings, preferences) == "BTC/USDT"
    assert first_source(settings, preferences) is SourceKind.MONGO


def test_a_broken_memory_counts_as_empty(stranded: Settings) -> None:
    stranded.data_dir.mkdir()
    (stranded.data_dir / "window.ini").write_bytes(b"\x00\xff[market\nsymbol=@Nonsense(\n=\n")
    preferences = Preferences(window_memory(stranded))
    assert first_symbol(stranded, preferences) == "BTC/USDT"
    assert first_source(stranded, preferences) is SourceKind.MONGO


def test_a_remembered_text_that_is_no_symbol_is_ignored(stranded: Settings) -> None:
    preferences = _remember(stranded, "??", SourceKind.MONGO)
    assert first_symbol(stranded, preferences) == "BTC/USDT"


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    return Preferences(QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat))


def test_our_own_server_writes_into_the_data_folder(tmp_path: Path) -> None:
    assert storage_text(load_settings(data_dir=str(tmp_path))) == f"the folder {tmp_path}"


def test_the_server_of_mongo_dsn_is_named_without_its_password() -> None:
    dsn = "mongodb://me:secret@db.example.org/?replicaSet=rs0"
    text = storage_text(load_settings(mongo_dsn=dsn, db_name="mine"))
    assert text.startswith("the database mine at mongodb://")
    assert "secret" not in text


async def test_a_chosen_retention_holds_now_and_later(
    stranded: Settings, preferences: Preferences
) -> None:
    program = Program(stranded, times=DESK_TIMES)
    storage = ProgramStorage(stranded, program, preferences)
    assert storage.disk == DiskStatus()
    assert storage.retention == Retention()
    chosen = Retention(30, 2.5)
    storage.set_retention(chosen)
    assert storage.retention == program.retention == preferences.retention == chosen
    again = with_remembered_retention(stranded, preferences)
    assert (again.retention_days, again.retention_gb) == (30, 2.5)
    await program.close()


def test_given_settings_beat_the_chosen_retention(preferences: Preferences) -> None:
    preferences.retention = Retention(30)
    given = load_settings(retention_gb=5)
    assert with_remembered_retention(given, preferences) is given


def test_without_a_choice_the_settings_stay(preferences: Preferences) -> None:
    settings = load_settings()
    assert with_remembered_retention(settings, preferences) is settings


def _packed(path: Path) -> Path:
    """A packed file without a recording."""
    with path.open("wb") as file:
        PackedWriter(file, PACKED_SCHEMA).close()
    return path


@posix
def test_a_packed_file_in_place_of_a_command(settings: Settings, tmp_path: Path) -> None:
    path = _packed(tmp_path / "week.OBD")
    with _window(settings, str(path)) as process:
        _wait_for(settings, f"shows the packed file {path}")
        process.send_signal(signal.SIGTERM)
        assert process.wait(_CLOSED_WITHIN_S) == 0
    path.write_bytes(path.read_bytes()[:-1])
    with _window(settings, str(path)) as process:
        output, _ = process.communicate(timeout=_CLOSED_WITHIN_S)
    assert process.returncode == 1
    assert output.count("\n") == 1
    assert "week.OBD is damaged: " in output


def test_a_file_that_the_system_wants_opened(qapp: QApplication, tmp_path: Path) -> None:
    del qapp
    opened: list[Path] = []
    opener = FileOpener(opened.append)
    assert opener.eventFilter(opener, QFileOpenEvent(str(tmp_path / "week.obd")))
    assert not opener.eventFilter(opener, QEvent(QEvent.Type.None_))
    assert opened == [tmp_path / "week.obd"]
