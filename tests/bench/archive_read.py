"""Speed of reading the archive: to arrays, to a book, to any instant, to proof, to events."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable

from orderbook_desktop.core.archive import decode_chunk, encode_chunk, same_book, verify_chunk
from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import encode_image, image_of
from orderbook_desktop.core.events import decode_snapshot
from orderbook_desktop.storage.store.packing import pack_chunk, unpack_chunk
from tests.bench.archive_size import Recording, load_recording

_ROUNDS = 5
_SEEKS = 200
_ACCEPTED_TO_BOOK = 150_000
_ACCEPTED_VERIFIED = 50_000


def _check(recording: Recording, packed: list[bytes]) -> None:
    """The last chunk ends in the book that the events build, applied one by one."""
    book, start = Book(), recording.start
    book.load(decode_snapshot(encode_image(start), start.market))
    for diff in recording.run:
        book.apply(diff)
    final = decode_chunk(unpack_chunk(packed[-1])).final_book()
    assert same_book(final, image_of(book, start.market)), "the books differ"


def _speed(packed: list[bytes], count: int, read: Callable[[bytes], object]) -> float:
    """Return events/s, the best of some rounds."""
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        for data in packed:
            read(data)
        best = min(best, time.perf_counter() - began)
    return count / best


def _seek_ms(packed: list[bytes]) -> list[float]:
    """Return the time from a chunk's bytes to the book at one of its events, many times."""
    chosen, took = random.Random(1), []
    for _ in range(_SEEKS):
        data = chosen.choice(packed)
        began = time.perf_counter_ns()
        chunk = decode_chunk(unpack_chunk(data))
        chunk.book_after(chosen.randrange(-1, chunk.header.event_count))
        took.append((time.perf_counter_ns() - began) / 1e6)
    return took


def main() -> None:
    recording = load_recording()
    packed = [pack_chunk(encode_chunk(*span)).data for span in recording.spans()]
    _check(recording, packed)
    count = len(recording.run)
    readings: dict[str, tuple[Callable[[bytes], object], str]] = {
        "to arrays": (lambda data: decode_chunk(unpack_chunk(data)).changes, ""),
        "to a final book": (
            lambda data: decode_chunk(unpack_chunk(data)).final_book(),
            f"  (accepted: {_ACCEPTED_TO_BOOK:,})",
        ),
        "verified": (
            lambda data: list(verify_chunk(decode_chunk(unpack_chunk(data)))),
            f"  (accepted: {_ACCEPTED_VERIFIED:,})",
        ),
        "to depth events": (lambda data: list(decode_chunk(unpack_chunk(data)).diffs()), ""),
    }
    print(f"{recording.name}: {count} events in chunks, load {os.getloadavg()[0]:.1f}")
    for name, (read, accepted) in readings.items():
        print(f"  {name:16} {_speed(packed, count, read):10,.0f} events/s{accepted}")
    seeks = sorted(_seek_ms(packed))
    p99 = seeks[len(seeks) * 99 // 100]
    print(f"  book at any event of a chunk: {statistics.median(seeks):.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
