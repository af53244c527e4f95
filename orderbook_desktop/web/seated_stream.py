"""The response of an endless stream to one viewer, from its first byte to its last."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from orderbook_desktop.web.frames import Encoding
from orderbook_desktop.web.hub import Seat, StreamForm

# No proxy or cache may store an event, or delay it.
_HEADERS: Final = {
    "cache-control": "no-store",
    "vary": "accept-encoding",
    "x-accel-buffering": "no",
}


class SeatedStream(EventSourceResponse):
    """Sends the frames of `seat` in `form`, from the moment `last_seq` on; then leaves the seat."""

    def __init__(
        self, seat: Seat, form: StreamForm, *, last_seq: int | None, encoding: Encoding
    ) -> None:
        self._seat = seat
        self._bytes = _encoded(seat, form, last_seq, encoding)
        super().__init__(self._bytes, headers={**_HEADERS, **encoding.headers})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the stream ends or the viewer disconnects."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._seat.leave()

    async def stream_response(self, send: Send) -> None:
        """Send head, frames and end."""
        # Not every event loop ends abandoned generators.
        async with aclosing(self._bytes):
            await super().stream_response(send)


async def _encoded(
    seat: Seat, form: StreamForm, last_seq: int | None, encoding: Encoding
) -> AsyncGenerator[bytes, None]:
    yield encoding.start()
    async with aclosing(seat.frames(form, last_seq)) as frames:
        async for frame in frames:
            yield encoding.take(frame)
    yield encoding.end()
