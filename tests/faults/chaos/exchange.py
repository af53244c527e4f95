"""The exchange of the play: keeps the truth about what it sends, and is hostile on command.

`python -m tests.faults.chaos.exchange --seed 1 --markets BTCUSDT,ETHUSDT --truth FILE` serves
the made-up market and prints its port. FILE gets the true market, line by line, before anything is
done to it on the way out: first `{"market":…,"book":…}` of each market, then `MARKET u E payload`
of each event, and `+MARKET a T payload` of each trade. Lines of standard input are orders, `WHAT
MARKET`: see `HostileFrame` and `HostileAnswer`. What a hostile frame replaced is in FILE, too,
with `!` before it.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec.structs import replace
from websockets.http11 import Response

from orderbook_desktop.exchange.local import LocalExchange, SyntheticSource
from orderbook_desktop.exchange.local.faults import Fault
from orderbook_desktop.exchange.local.rest import Answer
from orderbook_desktop.exchange.local.source import Publish, StreamEvent

_ABSURD_ID = 2**63 - 1
_UNPACKED_BYTES = 2**28
# Many reconnections ask for many books; a banned recorder would record nothing.
_WEIGHT_LIMIT = 60_000


class HostileFrame(Enum):
    """What comes instead of the next event, or before it, of a market."""

    ABSURD_ID = "absurd id"  # Before it: an event that ends at the largest number there is.
    BACKWARDS = "backwards"  # Before it: one that ends before it begins.
    DEEP = "deep"  # Before it: brackets, a million deep.
    CROSSED = "crossed"  # Instead of it: the best bid is above the best ask afterwards.


class HostileAnswer(Enum):
    """What the next request for a book is answered with."""

    BOMB = "bomb"  # Gzip of 256 MiB of nothing.
    LARGE = "large"  # 64 MiB, unpacked.
    WEIGHT = "weight"  # A used weight of 5,000 digits.
    ELSEWHERE = "elsewhere"  # A redirection to another host.
    NO_ID = "no id"  # A book without an update id.


class TruthfulSource(SyntheticSource):
    """A made-up market that goes on whether or not a client looks, and notes what happens."""

    def __init__(self, seed: int, markets: Collection[str], truth: BinaryIO) -> None:
        super().__init__(seed)
        self.orders: dict[str, list[HostileFrame]] = defaultdict(list)
        self._markets_noted = tuple(markets)
        self._truth = truth

    async def begin(self) -> None:
        """Note the books that everything begins with."""
        self.want(())
        for market in self._markets_noted:
            book = json.loads((await self.book(market)).as_json())
            line = json.dumps({"market": market, "book": book})
            self._truth.write(line.encode() + b"\n")

    def want(self, streams: Collection[str]) -> None:
        """See `SyntheticSource`; ours are always wanted."""
        ours = (f"{market.lower()}@depth@100ms" for market in self._markets_noted)
        super().want({*streams, *ours})

    async def run(self, publish: Publish) -> None:
        """See `SyntheticSource`."""

        def noting(event: StreamEvent) -> None:
            if event.stream.endswith("@depth@100ms") and event.market in self._markets_noted:
                event = self._note(event, publish)
            elif event.stream.endswith("@aggTrade") and event.market in self._markets_noted:
                sent = json.loads(event.payload)
                head = f"+{event.market} {sent['a']} {sent['T']} ".encode()
                self._truth.write(head + event.payload + b"\n")
            publish(event)

        await super().run(noting)

    def _note(self, event: StreamEvent, publish: Publish) -> StreamEvent:
        sent = json.loads(event.payload)
        head = f"{event.market} {event.final_id} {sent['E']} ".encode()
        self._truth.write(head + event.payload + b"\n")
        if not self.orders[event.market]:
            return event
        order = self.orders[event.market].pop(0)
        if order is HostileFrame.CROSSED:
            crossing = str(float(sent["a"][0][0]) * 2 if sent["a"] else 10**6)
            sent["b"] = [[f"{float(crossing):.8f}", "1.00000000"], *sent["b"]]
            payload = json.dumps(sent, separators=(",", ":")).encode()
            self._truth.write(b"!" + head + payload + b"\n")
            return replace(event, payload=payload)
        publish(replace(event, payload=_hostile_payload(order, sent), is_diff=False))
        return event


def _hostile_payload(order: HostileFrame, sent: dict[str, object]) -> bytes:
    if order is HostileFrame.DEEP:
        return b"[" * 10**6
    ids = {"u": _ABSURD_ID} if order is HostileFrame.ABSURD_ID else {"U": sent["u"], "u": sent["U"]}
    if order is HostileFrame.BACKWARDS and sent["U"] == sent["u"]:
        ids = {"u": int(str(sent["U"])) - 1}
    return json.dumps({**sent, **ids}, separators=(",", ":")).encode()


class HostileExchange(LocalExchange):
    """Answers the next requests for a book as `orders` says."""

    orders: list[HostileAnswer]

    def _response(self, answer: Answer) -> Response:
        is_book = answer.status == 200 and answer.body.startswith(b'{"lastUpdateId"')
        order = self.orders.pop(0) if is_book and self.orders else None
        if order is None:
            return super()._response(answer)
        headers: dict[str, str] = {}
        status, body = 200, answer.body
        match order:
            case HostileAnswer.BOMB:
                body = gzip.compress(bytes(_UNPACKED_BYTES), compresslevel=1)
                headers = {"Content-Encoding": "gzip"}
            case HostileAnswer.LARGE:
                body = body.ljust(2**26)
            case HostileAnswer.WEIGHT:
                headers = {"X-MBX-USED-WEIGHT-1M": "9" * 5_000}
            case HostileAnswer.ELSEWHERE:
                status, headers = 302, {"Location": "http://192.0.2.1/api/v3/depth"}
            case HostileAnswer.NO_ID:
                body = b'{"bids":[],"asks":[]}'
        response = super()._response(Answer(body, status))
        for name, text in headers.items():
            if name in response.headers:
                del response.headers[name]
            response.headers[name] = text
        return response


async def _serve(given: argparse.Namespace, truth: BinaryIO) -> None:
    source = TruthfulSource(given.seed, given.markets.split(","), truth)
    exchange = HostileExchange(source, weight_limit=_WEIGHT_LIMIT)
    exchange.orders = []
    await source.begin()
    async with exchange:
        print(exchange.port, flush=True)
        orders = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
        )
        # The play closes the pipe when it is over, or dies.
        while line := await orders.readline():
            order = json.loads(line)
            if "frame" in order:
                source.orders[order["symbol"]].append(HostileFrame(order["frame"]))
            elif "answer" in order:
                exchange.orders.append(HostileAnswer(order["answer"]))
            else:
                exchange.inject(msgspec.convert(order, Fault, strict=False))


def main() -> None:
    parser = argparse.ArgumentParser(description="Be the exchange of the chaos play.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--markets", required=True)
    parser.add_argument("--truth", type=Path, required=True)
    given = parser.parse_args()
    with given.truth.open("wb") as truth:
        asyncio.run(_serve(given, truth))


if __name__ == "__main__":
    main()
