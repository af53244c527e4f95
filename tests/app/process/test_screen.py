"""Without a screen, or without Qt's libraries, the program prints a sentence and exits."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from orderbook_desktop.app.process import screen
from orderbook_desktop.app.process.screen import (
    OFFSCREEN,
    X_WINDOW,
    MissingLibraries,
    NoScreen,
    check_screen,
    missing_packages,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="X11 and Wayland")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


class XServer:
    """A running X server, and its DISPLAY."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(
            [program, "-displayfd", "1", "-nolisten", "tcp"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        with self._process.stdout as told:
            self.display = f":{told.readline().strip()}"

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def x_server() -> Iterator[XServer]:
    """Run an X server."""
    program = shutil.which("Xvfb")
    if program is None:
        pytest.skip("no Xvfb here")
    server = XServer(program)
    yield server
    server.end()


def test_no_display_at_all() -> None:
    with pytest.raises(NoScreen, match=r"neither DISPLAY nor WAYLAND_DISPLAY.*record BTC/USDT"):
        check_screen()


@pytest.mark.parametrize("display", [":4711", "unix:4711", "127.0.0.1:59", "nonsense", ":x"])
def test_a_dead_display(monkeypatch: pytest.MonkeyPatch, display: str) -> None:
    monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(NoScreen, match=f"DISPLAY={display} "):
        check_screen()


def test_a_live_display(monkeypatch: pytest.MonkeyPatch, x_server: XServer) -> None:
    monkeypatch.setenv("DISPLAY", x_server.display)
    check_screen()
    # It is the server that makes the difference.
    x_server.end()
    with pytest.raises(NoScreen, match=f"DISPLAY={x_server.display} "):
        check_screen()


def test_a_live_display_without_qt_s_libraries(
    monkeypatch: pytest.MonkeyPatch, x_server: XServer
) -> None:
    monkeypatch.setenv("DISPLAY", x_server.display)
    monkeypatch.setattr(screen, "X_WINDOW", {"libnone.so.1": "libnone1", "libno.so.2": "libno2"})
    with pytest.raises(MissingLibraries, match=r"apt-get install libno2 libnone1$"):
        check_screen()


def test_without_the_libraries_of_every_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setattr(screen, "OFFSCREEN", {"libnone.so.1": "libnone1"})
    with pytest.raises(MissingLibraries, match=r"libnone1$"):
        check_screen()


@pytest.mark.parametrize("platform", ["offscreen", "minimal", "vnc:size=800x600"])
def test_platforms_without_a_display(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", platform)
    check_screen()
    # It is the platform that makes the difference.
    monkeypatch.delenv("QT_QPA_PLATFORM")
    with pytest.raises(NoScreen):
        check_screen()


@pytest.mark.parametrize("platform", ["xcb", "wayland", "wayland;xcb", "fantasy"])
def test_platforms_that_do_not_answer(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", platform)
    with pytest.raises(NoScreen):
        check_screen()


def test_a_live_wayland(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-7")
    with pytest.raises(NoScreen):
        check_screen()
    with socket.socket(socket.AF_UNIX) as compositor:
        compositor.bind(str(tmp_path / "wayland-7"))
        compositor.listen()
        check_screen()


def test_nothing_is_missing_here() -> None:
    assert missing_packages(OFFSCREEN) == []


def test_the_check_needs_only_the_standard_library() -> None:
    root = Path(__file__).parents[3]
    code = "import sys; sys.path.append(sys.argv[1]); import orderbook_desktop.app.process.screen"
    # The interpreter has no site-packages, as before any dependency is installed.
    subprocess.run([sys.executable, "-I", "-S", "-c", code, root], check=True, timeout=120)


def test_the_set_up_installs_the_libraries_that_the_program_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = Path(__file__).parents[3] / "packaging" / "setup_venv.py"
    spec = importlib.util.spec_from_file_location("setup_venv", path)
    assert spec is not None
    assert spec.loader is not None
    setup: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    installed: list[str] = []

    def nothing_loads(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", nothing_loads)
    monkeypatch.setattr(setup, "install_packages", lambda names, _problem: installed.extend(names))
    setup.provide_libraries("run")
    assert installed == sorted({*OFFSCREEN.values(), *X_WINDOW.values()})
