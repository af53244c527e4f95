"""A viewer that reads a stream over a real socket, and merges changes as documented."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass
class Event:
    """One server-sent event."""

    data: str = ""
    id: str = ""
    name: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Merged:
    """The book that a viewer of `/stream` has."""

    def __init__(self) -> None:
        self.seq = 0
        self.sides: dict[str, dict[Decimal, Decimal]] = {"bids": {}, "asks": {}}

    def take(self, message: dict[str, Any]) -> None:
        if message["kind"] == "book":
            self.sides = {"bids": {}, "asks": {}}
        else:
            assert message["from"] == self.seq
        for name, side in self.sides.items():
            for price, size in message[name]:
                side[Decimal(price)] = Decimal(size)
                if not Decimal(size):
                    del side[Decimal(price)]
        self.seq = message["seq"]


class Viewer:
    """An open stream: status, headers, and its events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = False
        self.received = 0
        self._reader = reader
        self._writer = writer
        self._text = ""
        self._unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)

    async def ask(self, target: str, headers: dict[str, str]) -> None:
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(head[0].split()[1])
        pairs = (line.partition(": ") for line in head[1:] if line)
        self.headers = {name.lower(): text for name, _, text in pairs}

    async def event(self) -> Event:
        """Return the next event or comment; raises `EOFError` after the last one."""
        while "\n\n" not in self._text:
            chunk = await self._chunk()
            if not chunk:
                self.ended = True
                raise EOFError
            self._text += chunk
        block, _, self._text = self._text.partition("\n\n")
        event = Event(lines=block.split("\n"))
        event.data = "\n".join(one[6:] for one in event.lines if one.startswith("data: "))
        event.name = next((one[7:] for one in event.lines if one.startswith("event: ")), "")
        event.id = next((one[4:] for one in event.lines if one.startswith("id: ")), "")
        return event

    async def message(self) -> Any:
        """Return the JSON of the next event without a name that has data."""
        while not (event := await self.event()).data or event.name:
            pass
        return event.json

    async def trades(self) -> Any:
        """Return the JSON of the next event `trades`."""
        while (event := await self.event()).name != "trades":
            pass
        return event.json

    async def _chunk(self) -> str:
        text = ""
        while not text:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            data = (await self._reader.readexactly(size + 2))[:-2]
            self.received += len(data)
            if not size:
                return ""
            if self.headers.get("content-encoding") == "gzip":
                data = self._unpack.decompress(data)
            text = data.decode()
        return text

    @property
    def complete(self) -> bool:
        """Whether a compressed stream ended properly, with its checksum."""
        return self._unpack.eof


@asynccontextmanager
async def watching(port: int, target: str, **headers: str) -> AsyncIterator[Viewer]:
    """Open `target` of the server on `port`; names of headers have _ in place of -."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        viewer = Viewer(reader, writer)
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        await viewer.ask(target, {"Host": f"127.0.0.1:{port}", **named})
        yield viewer
    finally:
        writer.close()
        await writer.wait_closed()


async def until_ended(reader: asyncio.StreamReader) -> None:
    """Read until the other side hangs up."""
    try:
        while await reader.read(1000):
            pass
    except ConnectionError:
        return
