"""Time limits and intervals of the database server."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class ServerTimes(Struct, frozen=True):
    """Time limits and intervals of a database server, in seconds.

    - `given_s`: a server given by its address answers within this time.
    - `start_s`: our own server starts within this time. To recover a big database after a crash
      takes long.
    - `stop_s`: our own server ends within this time, or is killed. After a kill it has to recover.
    - `folder_s`: how long to wait for a process that holds the files or the place of the server;
      it may be ending, so this is longer than `stop_s`.
    - `port_s`: how long a restarted server waits for its old port, where clients look for it.
    - `listener_s`: a listener identifies itself within this time.
    - `follow_s`: how often to check whether another copy's server is still there.
    - `moved_look_s`: how often to check whether damaged files were moved aside.
    - `stable_s`: a server that ran longer than this is restarted with the shortest delay again.
    - `sound_s`: a server that fails in its files sooner than this may have damaged files.
    """

    given_s: float = 5.0
    start_s: float = 60.0
    stop_s: float = 5.0
    folder_s: float = 10.0
    port_s: float = 3.0
    listener_s: float = 1.0
    follow_s: float = 0.3
    moved_look_s: float = 1.0
    stable_s: float = 3.0
    sound_s: float = 60.0


SERVER_TIMES: Final = ServerTimes()
