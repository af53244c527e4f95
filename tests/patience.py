"""What the program gives up after a moment has longer in tests: the machine may be busy.

A window has to be gone soon, so whatever is slow to end is cut short, and that is logged. In
a test it would be a failure of the machine's. A test of such a limit sets it itself.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from operator import attrgetter
from typing import Final

import pytest
from pytestqt.qtbot import QtBot

_PATIENCE_S: Final = 30.0
# What a database that never comes is waited for with, so no longer than need be.
_WRITE_PATIENCE_S: Final = 4.0

_LONG: Final = dict.fromkeys(("part_s", "jobs_s", "server_s"), _PATIENCE_S)
# Functions whose last default is the times that they wait for.
_TIMES: Final[dict[tuple[str, str], dict[str, float]]] = {
    ("orderbook_desktop.engine.engine", "Engine.__init__"): {**_LONG, "write_s": _WRITE_PATIENCE_S},
    ("orderbook_desktop.app.commands.doctor", "examine"): dict.fromkeys(
        ("check_s", "close_s", "event_s"), _PATIENCE_S
    ),
}
# Functions whose only default is the limit.
_DEFAULTS: Final = {
    ("orderbook_desktop.desk.demo_exchange", "DemoExchange.__init__"): _PATIENCE_S,
    ("orderbook_desktop.system.child", "ChildProcess.stop"): _PATIENCE_S,
}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengthen the limits of the modules that are there: none is imported for this."""
    for (module, name), longer in _TIMES.items():
        if module in sys.modules:
            function = attrgetter(name)(sys.modules[module])
            *others, times = function.__defaults__
            monkeypatch.setattr(function, "__defaults__", (*others, replace(times, **longer)))
    for (module, name), seconds in _DEFAULTS.items():
        if module in sys.modules:
            function = attrgetter(name)(sys.modules[module])
            assert len(function.__defaults__) == 1
            monkeypatch.setattr(function, "__defaults__", (seconds,))
    for wait in (QtBot.waitActive, QtBot.waitExposed, QtBot.waitSignal, QtBot.waitUntil):
        assert wait.__kwdefaults__ is not None
        monkeypatch.setitem(wait.__kwdefaults__, "timeout", round(_PATIENCE_S * 1000))
