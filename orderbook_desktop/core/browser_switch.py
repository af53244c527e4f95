"""What a window shows and commands of the browser view; the window does not know the server."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from orderbook_desktop.core.number_text import counted


class BrowserState(Enum):
    """Whether browsers are served; the values are what a person reads."""

    OFF = "off"
    STARTING = "starting"
    ON = "on"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class BrowserStatus:
    """How the browser view is doing.

    `link` is the address to open, empty unless the view is on. It may hold the token. So it is for
    the screen, never for the log, and left out of the `repr`. `local_only` says that no other
    computer can open it. `viewers` counts the streams being watched. `problem` is the sentence
    that says why it failed. `other_port` is then a port to use in place of a taken one (0: any
    free one), and None where another port would not help.
    """

    state: BrowserState
    link: str = field(default="", repr=False)
    local_only: bool = True
    viewers: int = 0
    problem: str = ""
    other_port: int | None = None


class BrowserSwitch(Protocol):
    """The switch of the browser view. Commands return at once; look at `status` for more."""

    @property
    def status(self) -> BrowserStatus:
        """How it is doing now; cheap enough to be asked a few times a second."""
        ...

    def switch(self, wanted: bool) -> None:
        """Serve, or stop serving; the latest wish counts."""
        ...

    def admit_others(self, admitted: bool) -> None:
        """Let other computers in, or only this one; viewers have to connect again."""
        ...

    def use_other_port(self) -> None:
        """Serve on `status.other_port`; nothing happens where there is none."""
        ...


def viewers_text(viewers: int) -> str:
    """Return the number of viewers in words."""
    return counted(viewers, "viewer")
