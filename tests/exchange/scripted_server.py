"""A websocket server that does what a test tells it, on a real socket."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

Answer = Callable[[dict[str, Any]], object]


def obey(command: dict[str, Any]) -> object:
    """Answer as the exchange does when all is well."""
    return {"result": None, "id": command["id"]}


def frame(market: str, first: int, final: int | None = None, stream: str = "") -> str:
    """Return a combined-stream frame of one depth event."""
    event = {"e": "depthUpdate", "E": 1, "s": market, "U": first, "u": final or first}
    name = stream or f"{market.lower()}@depth@100ms"
    return json.dumps({"stream": name, "data": {**event, "b": [["1.0", "2.0"]], "a": []}})


class ScriptedServer:
    """Notes `targets`, `commands` and connections; `answer` is the script.

    `refusals` are HTTP answers (status, headers) for the next handshakes. `last` is the
    connection opened last.
    """

    def __init__(self) -> None:
        self.port = 0
        self.targets: list[str] = []
        self.attempts: list[float] = []
        self.commands: list[dict[str, Any]] = []
        self.open: list[ServerConnection] = []
        self.refusals: deque[tuple[int, dict[str, str]]] = deque()
        self.answer: Answer = obey

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def last(self) -> ServerConnection:
        return self.open[-1]

    @property
    def sent_commands(self) -> list[tuple[str, list[str]]]:
        """Method and markets of every command."""
        return [
            (one["method"], [name.split("@")[0].upper() for name in one["params"]])
            for one in self.commands
        ]

    async def serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.targets.append(connection.request.path)
        self.open.append(connection)
        try:
            async for message in connection:
                command = json.loads(message)
                self.commands.append(command)
                answer = self.answer(command)
                if answer is not None:
                    await connection.send(json.dumps(answer))
        except ConnectionClosed:
            pass
        finally:
            self.open.remove(connection)

    async def send_to_all(self, frame: str) -> None:
        """Send `frame` on every connection that is open."""
        for connection in list(self.open):
            with suppress(ConnectionClosed):
                await connection.send(frame)

    def admit(self, _connection: ServerConnection, _request: Request) -> Response | None:
        self.attempts.append(asyncio.get_running_loop().time())
        if not self.refusals:
            return None
        status, headers = self.refusals.popleft()
        body = b"<html>not here</html>"
        return Response(status, "No", Headers({"Content-Length": str(len(body)), **headers}), body)


@asynccontextmanager
async def scripted_server(**options: Any) -> AsyncIterator[ScriptedServer]:
    """Run a `ScriptedServer` on a free port."""
    script = ScriptedServer()
    async with serve(
        script.serve,
        "127.0.0.1",
        0,
        process_request=script.admit,
        compression=None,
        close_timeout=0.2,
        **options,
    ) as server:
        script.port = server.sockets[0].getsockname()[1]
        yield script
