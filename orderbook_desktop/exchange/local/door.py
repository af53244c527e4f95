"""The door of the exchange: every connection passes it, and it can be shut for a while."""

from __future__ import annotations

import asyncio
import time

from websockets.asyncio.server import ServerConnection

from orderbook_desktop.exchange.local.faults import Fault, FaultBoard


class Door:
    """Knows all connections, REST and websocket, and resets new ones while it is shut."""

    def __init__(self, board: FaultBoard) -> None:
        self._board = board
        self._inside: set[asyncio.Transport] = set()
        self._fault: Fault | None = None
        self._shut_until = 0.0

    def shut(self, fault: Fault) -> None:
        """Reset every new connection for `fault.seconds`."""
        self._fault = fault
        self._shut_until = time.monotonic() + fault.seconds

    def hang_up(self) -> None:
        """Cut off everybody who has not left."""
        for transport in self._inside:
            transport.abort()

    def connection_class(self) -> type[ServerConnection]:
        """Return the class of connections that come in by this door."""
        door = self

        class DoorConnection(ServerConnection):
            """A connection that tells the door when it comes and goes."""

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                door._enter(self.transport)

            def connection_lost(self, exc: Exception | None) -> None:
                door._inside.discard(self.transport)
                super().connection_lost(exc)

        return DoorConnection

    def _enter(self, transport: asyncio.Transport) -> None:
        self._inside.add(transport)
        if self._fault and time.monotonic() < self._shut_until:
            self._board.note(self._fault)
            transport.abort()
