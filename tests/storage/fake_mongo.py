"""A stand-in for MongoDB's servers: speaks the wire protocol, and answers as a test says.

SecantusDB is always a primary, so it can't show how a mongod behaves that was never
initiated, that has moved to another port, or that refuses a user.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import bson

Document = dict[str, Any]
Answer = Callable[[str, Document], Document]

_HEADER = struct.Struct("<iiii")
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013

CAPABILITIES: Document = {
    "maxBsonObjectSize": 16_777_216,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "helloOk": True,
    "ok": 1.0,
}


def error(code: int, text: str = "refused") -> Document:
    """Return MongoDB's answer for the error `code`."""
    return {"ok": 0.0, "code": code, "errmsg": text}


def hello(**fields: Any) -> Document:
    """Return an answer to `hello`, or to the older `isMaster`, with these fields."""
    primary = bool(fields.get("isWritablePrimary"))
    return {**CAPABILITIES, "isWritablePrimary": primary, "ismaster": primary, **fields}


@contextlib.asynccontextmanager
async def serving(answer: Answer, path: str | None = None) -> AsyncIterator[int]:
    """Serve the answers of `answer(name, command)` on 127.0.0.1, and yield the port.

    With a `path` it is served on a Unix socket there, and 0 is yielded.
    """
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(await _exchange(reader, answer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The client has left.
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(talk(reader, writer))
        talks.add(task)
        task.add_done_callback(talks.discard)

    if path is None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
    else:
        server = await asyncio.start_unix_server(connected, path)
    try:
        yield 0 if path is not None else server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        # The transports close in the loop's next round.
        await asyncio.sleep(0)


async def _exchange(reader: asyncio.StreamReader, answer: Answer) -> bytes:
    length, request, _, opcode = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    body = await reader.readexactly(length - _HEADER.size)
    if opcode == _OP_QUERY:
        # Flags, the collection's name, skip and limit come before the command.
        command = bson.decode(body[body.index(b"\0", 4) + 9 :])
        head = struct.pack("<iqii", 8, 0, 0, 1)
        return _message(_OP_REPLY, request, head + bson.encode(_answered(answer, command)))
    size = struct.unpack_from("<i", body, 5)[0]
    command = bson.decode(body[5 : 5 + size])
    return _message(_OP_MSG, request, b"\0" * 5 + bson.encode(_answered(answer, command)))


def _answered(answer: Answer, command: Document) -> Document:
    name = next(iter(command))
    return answer("hello" if name.lower() == "ismaster" else name, command)


def _message(opcode: int, request: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), 1, request, opcode) + body
