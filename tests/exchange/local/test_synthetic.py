"""Written captures: the same arguments give the same file, in the collectors' format."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from orderbook_desktop.exchange.local import write_capture

from .true_book import capture_messages, true_book_of


def test_the_same_arguments_give_the_same_file(tmp_path: Path) -> None:
    one = write_capture(tmp_path / "one.gz", seed=1, seconds=2)
    two = write_capture(tmp_path / "two.gz", seed=1, seconds=2)
    other = write_capture(tmp_path / "other.gz", seed=2, seconds=2)
    assert one.read_bytes() == two.read_bytes() != other.read_bytes()


def test_plain_and_zipped_hold_the_same_lines(tmp_path: Path) -> None:
    zipped = write_capture(tmp_path / "a.jsonl.gz", seed=1, seconds=2)
    plain = write_capture(tmp_path / "a.jsonl", seed=1, seconds=2)
    assert list(capture_messages(zipped)) == list(capture_messages(plain))


def test_lines_are_ordered_with_a_late_snapshot(tmp_path: Path) -> None:
    path = write_capture(
        tmp_path / "a.jsonl", seed=1, seconds=3, symbols=["ETH/BTC"], snapshot_levels=100
    )
    lines = [(stamp, json.loads(text)) for stamp, text in capture_messages(path)]
    assert all(earlier[0] < later[0] for earlier, later in pairwise(lines))
    kinds = [message.get("stream", "snapshot") for _, message in lines]
    assert set(kinds) == {
        "snapshot", "ethbtc@depth@100ms", "ethbtc@bookTicker", "ethbtc@trade",
    }  # fmt: skip
    at = kinds.index("snapshot")
    snapshot = lines[at][1]
    assert len(snapshot["bids"]) == len(snapshot["asks"]) == 100
    before = [m["data"]["u"] for _, m in lines[:at] if "@depth" in m.get("stream", "")]
    assert before[0] < snapshot["lastUpdateId"] < before[-1]
    assert true_book_of(path).last_update_id > snapshot["lastUpdateId"]


def test_only_the_streams_asked_for(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "a", seed=1, seconds=1, streams=["depth@100ms"])
    assert {json.loads(text).get("stream") for _, text in capture_messages(path)} == {
        None,
        "btcusdt@depth@100ms",
    }
