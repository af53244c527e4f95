"""What the bundle's second executable runs: the database server, or the guard that starts it.

    orderbook-database guard exec|resident PARENT_PID COMMAND...
    orderbook-database serve|make|reset ARGUMENTS...              (see secantus_child)

It is a program of its own: the first one speaks to it over a socket only.
"""

import sys


def _guard() -> int:
    from orderbook_desktop.system.child_guard import main  # noqa: PLC0415 (one or the other)

    return main(sys.argv[2:])


def _serve() -> int:
    from orderbook_desktop.storage.server.secantus_child import main  # noqa: PLC0415 (one or the other)

    return main(sys.argv[1:])


sys.exit(_guard() if sys.argv[1:2] == ["guard"] else _serve())
