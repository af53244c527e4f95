"""A proxy to a database that cuts connections after a write, before its acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.uri_parser import parse_uri

_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013
_WRITES = frozenset({"insert", "update", "delete", "findAndModify"})


class CuttingProxy:
    """Forwards to the server at `dsn`; the answers to some writes never arrive.

    `every`: of each kind of write (command and collection) the first is not answered, and then
    one of so many; its connection is closed. 0: all are.
    `only`: that write alone is not answered, counted from 1.
    `written` counts writes by command and collection, `cut` those that were not answered,
    `retryable` the ones that the driver itself would have repeated.
    """

    def __init__(self, dsn: str, every: int = 0, only: int = 0) -> None:
        self._every = every
        self._only = only
        self.cut: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.retryable = 0
        self._writes = 0
        known: dict[str, Any] = parse_uri(dsn)
        self._host, self._port = known["nodelist"][0]
        self._dsn = dsn
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def dsn(self) -> str:
        """The address of the proxy, with the options and the user of the server's address."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        who, _, rest = self._dsn.removeprefix("mongodb://").rpartition("@")
        return f"mongodb://{who}@127.0.0.1:{port}/{rest.rpartition('/')[2]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._port is None:
            answers, requests = await asyncio.open_unix_connection(self._host)
        else:
            answers, requests = await asyncio.open_connection(self._host, self._port)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    request = await _message(reader)
                    requests.write(request)
                    answer = await _message(answers)
                    if self._is_to_be_cut(request):
                        break
                    writer.write(answer)
        finally:
            for one in (writer, requests):
                one.close()

    def _is_to_be_cut(self, request: bytes) -> bool:
        command = _command(request)
        name = next(iter(command), "")
        if name not in _WRITES:
            return False
        self.retryable += "txnNumber" in command
        self._writes += 1
        kind = f"{name} {command[name]}"
        self.written[kind] += 1
        is_due = self._every and self.written[kind] % self._every == 1
        if not is_due and self._writes != self._only:
            return False
        self.cut[kind] += 1
        return True


async def _message(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(_HEADER.size)
    length = _HEADER.unpack(header)[0]
    return header + await reader.readexactly(length - _HEADER.size)


def _command(message: bytes) -> RawBSONDocument | dict[str, Any]:
    """Return the command of a message; empty if it is of another kind."""
    if _HEADER.unpack_from(message)[3] != _OP_MSG or message[20] != 0:
        return {}
    (length,) = struct.unpack_from("<i", message, 21)
    return bson.decode(message[21 : 21 + length])


@asynccontextmanager
async def cut_connections(dsn: str, every: int = 0, only: int = 0) -> AsyncIterator[CuttingProxy]:
    """Yield a `CuttingProxy` to the server at `dsn`."""
    proxy = CuttingProxy(dsn, every, only)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
