"""The main script of the bundle's second executable: the database server, or its guard.

    orderbook-database guard exec|resident PARENT_PID COMMAND...
    orderbook-database serve|make|reset ARGUMENTS...              (see secantus_child)

It is a program of its own; the first executable speaks to it only over a socket.
"""

import sys


def _guard() -> int:
    from orderbook_desktop.system.child_guard import main  # noqa: PLC0415 (the server needs it not)

    return main(sys.argv[2:])


def _serve() -> int:
    from orderbook_desktop.storage.server.secantus_child import main  # noqa: PLC0415 (not for the guard)

    return main(sys.argv[1:])


sys.exit(_guard() if sys.argv[1:2] == ["guard"] else _serve())
