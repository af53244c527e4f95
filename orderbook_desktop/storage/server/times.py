"""How long a database server is waited for, and what for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ServerTimes:
    """How long what is done for a database server may take, in seconds.

    A server that is given has `given_s` to answer. One of our own has `start_s` to start, since
    recovering a big database after a crash takes its time, and `stop_s` to end: one that is
    killed has to recover. A process that holds its files or its place, and may be just ending, is
    waited for during `folder_s`. A server that starts again waits `port_s` for its old port, so
    that clients find it where it was. What listens there has `listener_s` to say what it is.

    A copy of the program that uses another one's server looks every `follow_s` whether that is
    still there, and every `moved_look_s` whether damaged files were moved aside.

    A server that ran for `stable_s` does not fail again and again. One that breaks down in its
    files sooner than `sound_s` after its start may have damaged files.
    """

    given_s: float = 5.0
    start_s: float = 60.0
    stop_s: float = 20.0
    folder_s: float = 10.0
    port_s: float = 3.0
    listener_s: float = 1.0
    follow_s: float = 0.3
    moved_look_s: float = 1.0
    stable_s: float = 3.0
    sound_s: float = 60.0


SERVER_TIMES: Final = ServerTimes()
