"""Fixtures: Chromium, and the browser views that it opens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, sync_playwright

from orderbook_desktop.exchange.local import write_capture
from tests.warm_starts import nursery_pids
from tests.web.browser.program import Command, exchange, running, server

_CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Leave the check to `everything_ended`: the browser's processes begin and end at any time."""


@pytest.fixture(scope="package", autouse=True)
def everything_ended() -> Iterator[None]:
    """Fail this folder's tests, by the last of them, if child processes are left behind."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = set(psutil.Process().children(recursive=True)) - before
    ending = [one for one in left if one.pid not in nursery_pids()]
    assert not psutil.wait_procs(ending, timeout=30)[1]


@pytest.fixture(scope="package")
def chromium(everything_ended: None) -> Iterator[Browser]:
    """Give the system's Chromium, one for all modules: it takes long to start."""
    if _CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


class Served:
    """A running browser view: its address, its command, and the capture that is played."""

    def __init__(self, address: str, command: Command, capture: Path | None = None) -> None:
        self.address = address
        self.command = command
        self.capture = capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a capture."""
    path = tmp_path_factory.mktemp("capture") / "btc.jsonl.gz"
    return write_capture(path, seed=3, seconds=120, snapshot_levels=1000)


@pytest.fixture
def played(capture: Path, tmp_path: Path) -> Iterator[Served]:
    """Serve a capture that begins to play at the first request, so that no test finds it ended."""
    yield from _served(tmp_path, "--play", str(capture), capture=capture)


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the made-up market, with its hundreds of symbols."""
    yield from _served(tmp_path_factory.mktemp("endless"), "--seed", "5")


def _served(folder: Path, *arguments: str, capture: Path | None = None) -> Iterator[Served]:
    with ExitStack() as stack:
        market, variables = exchange(folder, *arguments)
        stack.enter_context(running(market))
        command, address = server(folder, variables)
        stack.enter_context(running(command))
        yield Served(address, command, capture)
