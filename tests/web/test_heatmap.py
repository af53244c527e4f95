"""Heatmaps over HTTP: live ones of a tail, recorded ones of pages, and none of a clock's future."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest

from orderbook_desktop.core.events import answered, decode_diff, decode_snapshot
from orderbook_desktop.core.heatmap.choices import ColourMap
from orderbook_desktop.core.heatmap.colours import EMPTY_BYTE, GAP_BYTE, colour_table
from orderbook_desktop.core.heatmap.picture import Quantiser
from orderbook_desktop.core.heatmap.tail import DepthTail
from orderbook_desktop.core.segments import GapCause
from tests.gui.fake_heatmaps import FakeHeatmaps
from tests.web.hand_library import HandLibrary

_BEGIN_MS = 1_700_000_000_000
_QUERY = "?symbol=BTC/USDT&bin=1000&step=0.01&low=99.99&rows=4"


def _snapshot(tail: DepthTail, update_id: int, at_ms: int) -> None:
    payload = json.dumps(
        {"lastUpdateId": update_id, "bids": [["100.00", "2"]], "asks": [["100.01", "1"]]}
    )
    tail.opened(answered(decode_snapshot(payload.encode(), "BTCUSDT", _BEGIN_MS + at_ms), 5_000))


def _event(tail: DepthTail, update_id: int, at_ms: int, bid: str) -> None:
    event = {"e": "depthUpdate", "E": _BEGIN_MS + at_ms, "s": "BTCUSDT", "U": update_id}
    payload = json.dumps({**event, "u": update_id, "b": [["100.00", bid]], "a": []})
    tail.applied(decode_diff(payload.encode()))


def _tail() -> DepthTail:
    """Return a tail of four seconds; in the third nothing is known."""
    tail = DepthTail("BTCUSDT")
    _snapshot(tail, 10, 0)
    _event(tail, 11, 0, "2")
    _event(tail, 12, 1_500, "8")
    _event(tail, 13, 2_000, "4")
    tail.broken(GapCause.FEED_GAP, "")
    _snapshot(tail, 20, 3_000)
    _event(tail, 21, 3_000, "1")
    _event(tail, 22, 3_900, "2")
    return tail


async def _tile(client: httpx.AsyncClient, path: str, query: str = "") -> tuple[Any, Any]:
    answer = await client.get(f"/api/heatmap{path}{_QUERY}{query}")
    assert answer.status_code == 200, answer.text
    end = 4 + int.from_bytes(answer.content[:4], "little")
    head = json.loads(answer.content[4:end])
    count = head["columns"] * head["rows"]
    cells = np.frombuffer(answer.content[end : end + count], np.uint8)
    return head, cells.reshape(head["columns"], head["rows"])


async def test_a_live_heatmap_has_its_sizes_and_its_gap(
    client: httpx.AsyncClient, library: HandLibrary
) -> None:
    library.btc.depth = _tail()
    head, cells = await _tile(client, "/live")
    assert (head["columns"], head["rows"], head["fromMs"]) == (4, 4, _BEGIN_MS)
    assert [(gap["fromMs"], gap["toMs"]) for gap in head["gaps"]] == [
        (_BEGIN_MS + 2_000, _BEGIN_MS + 3_000)
    ]
    assert (cells[2] == GAP_BYTE).all()
    quantiser = Quantiser(head["base"] * 10**8)
    for column, size in ((0, 2), (1, 8), (3, 2)):
        expected = quantiser.bytes_of(np.array([size * 10**8]))[0]
        assert cells[column].tolist()[1] == expected
        assert cells[column][0] == EMPTY_BYTE
    assert float(head["bestBids"][1]) == 100
    # The newest columns alone are the same, and their bytes mean the same.
    newest, few = await _tile(client, "/live", f"&from={_BEGIN_MS + 3_000}&base={head['base']}")
    assert newest["base"] == head["base"]
    assert (few == cells[3:]).all()


async def test_a_recorded_heatmap_is_the_one_of_the_pages(
    client: httpx.AsyncClient, library: HandLibrary
) -> None:
    tail = library.btc.depth = _tail()
    library.heatmaps = FakeHeatmaps(tail.spans(0, 1 << 60))
    _, live = await _tile(client, "/live")
    times = f"&from={_BEGIN_MS}&to={_BEGIN_MS + 3_000}"
    head, cells = await _tile(client, "", times)
    assert head["columns"] == 3
    assert (cells == live[:3]).all()


async def test_a_replay_shows_no_column_that_is_not_over(
    client: httpx.AsyncClient, library: HandLibrary
) -> None:
    library.heatmaps = FakeHeatmaps(_tail().spans(0, 1 << 60))
    library.btc.play(None, _BEGIN_MS + 1_999)
    head, _ = await _tile(client, "", f"&from={_BEGIN_MS}&to={_BEGIN_MS + 4_000}")
    assert head["columns"] == 0
    assert head["replayTime"] == _BEGIN_MS + 1_999
    assert not library.heatmaps.wishes
    head, _ = await _tile(client, "/live")
    assert head["columns"] == 0


async def test_colours_are_those_of_the_window(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/heatmap/colours?low=20&high=90&map=dusk")
    red, green, blue, _ = np.frombuffer(answer.content, np.uint8).reshape(256, 4).astype(int).T
    table = colour_table(ColourMap.DUSK, 20, 90)
    assert (table == (0xFF000000 | red << 16 | green << 8 | blue)).all()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("bin=300", "columns of 300 ms"),
        ("bin=100&from=0&to=900000", "2000 are the most"),
        ("step=0.0", "no height"),
        ("step=100000000000&low=999999999999", "too high"),
        ("rows=513", "rows"),
        ("base=inf", "base"),
    ],
)
async def test_what_is_not_served_is_refused_with_a_sentence(
    client: httpx.AsyncClient, query: str, said: str
) -> None:
    answer = await client.get(f"/api/heatmap?{query}")
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
