"""A switch of the browser view without a server."""

from __future__ import annotations

from dataclasses import replace

from orderbook_desktop.core.desk import BrowserState, BrowserStatus

LINK = "http://192.168.1.20:8000/?token=abcdefghijklmnopqrstuvwxyz"
ON = BrowserStatus(BrowserState.ON, LINK, local_only=False)
OFF = BrowserStatus(BrowserState.OFF)
TAKEN = BrowserStatus(
    BrowserState.FAILED, problem="Port 8000 is used by another program.", other_port=8001
)


class FakeSwitch:
    """A `core.desk.BrowserSwitch` that obeys at once and notes its commands."""

    def __init__(self) -> None:
        self.status = OFF
        self.commands: list[object] = []
        self.taken = False

    def switch(self, wanted: bool) -> None:
        self.commands.append(wanted)
        self.status = (TAKEN if self.taken else ON) if wanted else OFF

    def admit_others(self, admitted: bool) -> None:
        self.commands.append(f"others: {admitted}")
        self.status = replace(self.status, local_only=not admitted)

    def use_other_port(self) -> None:
        self.commands.append("other port")
        self.status = ON
