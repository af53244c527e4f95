"""Reading a recording in Python, as the README shows it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import orderbook_desktop as od
from orderbook_desktop.app.python_api import RecordingReader
from orderbook_desktop.app.settings import BadSetting
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.exchange.local.synthetic import write_capture
from orderbook_desktop.storage.reading.recording import NotCovered
from orderbook_desktop.storage.store.database_store import DatabaseStore
from tests.app.command import run_command
from tests.app.commands.test_export_and_import import true_books
from tests.core.archive.test_rows import rebuilt
from tests.core.reference_book import Pairs, pairs_of
from tests.storage.reading.csv_heatmap import decimal_cells, heatmap_of_csv
from tests.storage.recording_fixtures import server_in
from tests.storage.shelf import whole_document

_README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with a recording, and the capture from which it was made.

    Its database runs, so that no reader has to start it.
    """
    folder = tmp_path_factory.mktemp("recorded")
    path = write_capture(folder / "capture", seed=5, seconds=70, activity=0.2, snapshot_levels=300)
    with server_in(folder):
        done = run_command(folder, "import", str(path))
        assert done.returncode == 0, done.stderr
        yield folder


@pytest.fixture(scope="module")
def truth(recorded: Path) -> dict[int, tuple[Pairs, Pairs]]:
    """The true books by event time."""
    return true_books(recorded / "capture")


@pytest.fixture
def recording(recorded: Path) -> Iterator[RecordingReader]:
    with od.open_recording("btc/usdt", data_dir=recorded) as recording:
        yield recording


def _levels(book: object) -> tuple[Pairs, Pairs]:
    return tuple(pairs_of(side) for side in (book.bids, book.asks))  # type: ignore[attr-defined,return-value]


def test_segments_and_gaps(recording: RecordingReader) -> None:
    (segment,) = recording.segments
    assert (recording.symbol, recording.market) == ("BTC/USDT", segment.market)
    assert recording.gaps == []
    assert segment.last_event_ms - segment.first_event_ms > 60_000


def test_books_are_the_true_ones(
    recording: RecordingReader, truth: dict[int, tuple[Pairs, Pairs]]
) -> None:
    times = sorted(truth)
    for time in times[::97]:
        assert _levels(recording.book_at(time)) == truth[time]
    wanted = [times[0], times[0], times[5] + 1, *times[30::50], times[-1], times[-1]]
    known = [truth[max(one for one in times if one <= time)] for time in wanted]
    assert [_levels(book) for book in recording.books(wanted)] == known
    assert list(recording.books([])) == []


def test_events_make_the_true_books(
    recording: RecordingReader, truth: dict[int, tuple[Pairs, Pairs]]
) -> None:
    batches = list(recording.events())
    assert batches[0].is_snapshot
    assert not any(rows.is_snapshot for rows in batches[1:])
    books = rebuilt(batches[1:2])
    assert books
    assert list(rebuilt(batches).values())[1:] == list(truth.values())
    assert batches[0].prices.dtype == batches[0].quantities.dtype == "int64"


def test_a_part_of_the_events(recording: RecordingReader) -> None:
    begin = recording.segments[0].first_event_ms + 5_000
    book, *batches = recording.events(begin, begin + 2_000)
    assert book.is_snapshot
    times = {time for rows in batches for time in rows.event_ms.tolist()}
    assert min(times) >= begin
    assert max(times) < begin + 2_000


def test_times_may_be_numbers_of_numpy(recording: RecordingReader) -> None:
    begin = recording.segments[0].first_event_ms
    times = np.arange(begin + 5_000, begin + 15_000, 2_500)
    found = [_levels(book) for book in recording.books(times)]
    assert found == [_levels(recording.book_at(time)) for time in times]
    assert found == [_levels(recording.book_at(int(time))) for time in times]
    _, *batches = recording.events(times[0], times[1])
    assert batches[0].event_ms[0] >= times[0]
    assert batches[-1].event_ms[-1] < times[1]
    with pytest.raises(TypeError, match="float"):
        recording.book_at(float(begin))  # type: ignore[arg-type]


def test_an_unknown_book_is_an_error_with_its_gap(recording: RecordingReader) -> None:
    with pytest.raises(NotCovered, match="the recording doesn't reach there"):
        recording.book_at(1)
    with pytest.raises(NotCovered):
        next(recording.books([recording.segments[0].first_event_ms, 10**13]))
    with pytest.raises(ValueError, match="ascend"):
        next(recording.books([2, 1]))


def test_an_iterator_may_be_abandoned(recording: RecordingReader) -> None:
    events = recording.events()
    next(events)
    assert next(recording.events()).is_snapshot


def test_a_closed_reader_says_so(recorded: Path) -> None:
    with od.open_recording("BTCUSDT", data_dir=recorded) as recording:
        left = recording.events()
        next(left)
    recording.close()
    with pytest.raises(ValueError, match="closed"):
        recording.book_at(1)
    with pytest.raises(ValueError, match="closed"):
        next(left)
    assert not [one for one in threading.enumerate() if one.name == "recording"]


async def test_a_reader_works_beside_a_running_loop(recorded: Path) -> None:
    # A notebook has a running loop.
    with od.open_recording("BTCUSDT", data_dir=str(recorded)) as recording:
        assert recording.segments
        await asyncio.sleep(0)


def test_segments_have_events(recording: RecordingReader) -> None:
    """A segment without events, which has only a book, is left out: it has no times."""
    (segment,) = recording.segments
    last_id = segment.last_id
    empty = replace(segment, snapshot_id=last_id, first_id=last_id + 1, event_count=0)
    document = whole_document("empty", empty)
    store = recording._recording._store
    assert isinstance(store, DatabaseStore)
    stored = store._database.collection("segments")

    async def put() -> None:
        await stored.insert_one(document)

    async def remove() -> None:
        await stored.delete_one({"_id": "empty"})

    recording._loop.run(put())
    try:
        assert recording.segments == [segment]
        assert recording.gaps == []
    finally:
        recording._loop.run(remove())


def test_no_such_recording(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(KnownError, match="Nothing is recorded of ETH/USDT"):
        od.open_recording("ETH/USDT", data_dir=recorded)
    with pytest.raises(KnownError, match="Nothing is recorded in the folder"):
        od.open_recording("BTC/USDT", data_dir=tmp_path)
    with pytest.raises(KnownError, match="Nothing is recorded in the database other"):
        od.open_recording("BTC/USDT", data_dir=recorded, db_name="other")
    with pytest.raises(BadSetting, match="symbol is 'B C', but must be"):
        od.open_recording("B C", data_dir=recorded)
    assert not [one for one in threading.enumerate() if one.name == "recording"]


_NOWHERE = "mongodb://me:a-secret@127.0.0.1:1/?serverSelectionTimeoutMS=300"


@pytest.mark.parametrize(
    ("symbol", "given", "told"),
    [
        ("", {}, "symbol is '', but must be a spot symbol"),
        ("BTC\x1b[31m", {}, "must be a spot symbol"),
        ("A" * 10_000, {}, "must be a spot symbol"),
        ("BTC/USDT", {"dsn": "nonsense"}, "MONGO_DSN|mongo_dsn|--mongo-dsn"),
        ("BTC/USDT", {"dsn": _NOWHERE}, "does not answer"),
        ("BTC/USDT", {"db_name": "a/b"}, "must be"),
        ("BTC/USDT", {"data_dir": "file"}, "cannot be written"),
        ("BTC/USDT", {"data_dir": "file/in"}, "cannot be written"),
        ("BTC/USDT", {"data_dir": "x" * 300}, "File name too long"),
        ("BTC/USDT", {"data_dir": "missing"}, "Nothing is recorded in"),
    ],
)
def test_whatever_is_given_it_fails_with_a_sentence(
    tmp_path: Path, symbol: str, given: dict[str, str], told: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    given = {"data_dir": "missing", **given}
    with pytest.raises(KnownError, match=told) as caught:
        od.open_recording(symbol, **{**given, "data_dir": str(tmp_path / given["data_dir"])})
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "a-secret" not in sentence
    assert len(sentence) < 1_000


def test_decimals_are_exact() -> None:
    assert od.decimals([6183763000000, 1, 0, 2**63 - 1], 8) == [
        Decimal(text) for text in ("61837.63", "0.00000001", "0", "92233720368.54775807")
    ]
    assert od.decimals([5], 0) == [Decimal(5)]


def test_importing_the_package_is_instant() -> None:
    program = "import sys; import orderbook_desktop; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "orderbook_desktop" in loaded
    assert not {"numpy", "motor", "pymongo", "PySide6", "asyncio", "typer", "msgspec"} & loaded


def test_the_log_is_silent_by_default() -> None:
    program = (
        "import logging, orderbook_desktop.app.python_api\n"
        "logging.getLogger('orderbook_desktop.storage').warning('gone')\n"
        "logging.basicConfig()\n"
        "logging.getLogger('orderbook_desktop.storage').warning('away')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == "WARNING:orderbook_desktop.storage:away\n"


def _example(name: str = "example") -> CodeType:
    text = _README.read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found
    return compile(found[1], "README.md", "exec")


def test_the_example_of_the_readme_runs(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERBOOK_DATA_DIR", str(recorded))
    exec(_example(), {})
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("best bids: ")
    assert len(output[0].split()) == 7
    assert len(output) > 60
    assert re.fullmatch(r"levels changed: \d{3,}", output[-1])


def test_the_example_of_trades_runs(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERBOOK_DATA_DIR", str(recorded))
    exec(_example("example of trades"), {})
    output = capsys.readouterr().out
    begin = re.match(r"trades: (\d+) of them repaired: 0\n", output)
    assert begin
    assert int(begin[1]) > 100
    bought, _, sold = output.partition("sold")
    sums: dict[tuple[Decimal, bool], Decimal] = {}
    for trade in _single_trades(recorded / "capture"):
        key = Decimal(trade["p"]), trade["m"]
        sums[key] = sums.get(key, Decimal()) + Decimal(trade["q"])
    for text, is_sold in ((bought, False), (sold, True)):
        rows = re.findall(r"^  (\S+) at (\S+)$", text, re.MULTILINE)
        shown = {(Decimal(price), is_sold): Decimal(volume) for volume, price in rows}
        assert shown == {key: volume for key, volume in sums.items() if key[1] is is_sold}
    assert re.search(r"^median delay in ms: -?[\d.]+$", output, re.MULTILINE)


def test_the_example_of_play_runs(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERBOOK_DATA_DIR", str(recorded))
    exec(_example("example of play"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20
    for line in lines:
        found = re.fullmatch(
            r"(sold|bought) [\d.]+ at ([\d.]+) between ([\d.]+) and ([\d.]+)", line
        )
        assert found
        assert Decimal(found[3]) < Decimal(found[4])


def _single_trades(path: Path) -> list[dict[str, Any]]:
    """The events `trade` in a capture's lines."""
    messages = [json.loads(line.partition(b" ")[2]) for line in path.read_bytes().splitlines()]
    return [one["data"] for one in messages if one.get("stream", "").endswith("@trade")]


def test_trades_are_columns(recording: RecordingReader, recorded: Path) -> None:
    trades, single = recording.trades(), _single_trades(recorded / "capture")
    assert (trades.first_parts[0], trades.last_parts[-1]) == (single[0]["t"], single[-1]["t"])
    assert (trades.last_parts[:-1] + 1).tolist() == trades.first_parts[1:].tolist()
    assert trades.ids.tolist() == list(range(trades.ids[0], trades.ids[0] + len(trades)))
    assert recording.trade_gaps == []
    begin_ms = int(trades.event_us[0]) // 1_000 + 5_000
    part = recording.trades(np.int64(begin_ms), begin_ms + 2_000)
    inside = (trades.event_us >= begin_ms * 1_000) & (trades.event_us < (begin_ms + 2_000) * 1_000)
    assert part.ids.tolist() == trades.ids[inside].tolist()
    assert 0 < len(part) < len(trades)
    assert len(recording.trades(1, 2)) == 0
    for column in (trades.ids, trades.event_us, trades.received_ns, trades.prices):
        assert column.dtype == "int64"
    names = str(RecordingReader.trades.__doc__)
    assert all(f"`{name}`" in names for name in trades.__struct_fields__ if name not in _SAID)


# What the documentation of the columns names otherwise.
_SAID = ("market", "scale")


def test_a_heatmap_equals_a_brute_force_over_exported_rows(
    recording: RecordingReader, recorded: Path, tmp_path: Path
) -> None:
    (segment,) = recording.segments
    begin, end = segment.first_event_ms + 20_000, segment.first_event_ms + 50_000
    path = tmp_path / "rows.csv"
    given = ("--format", "tardis", "-o", str(path), "--from", str(begin), "--to", str(end))
    assert run_command(recorded, "export", "BTC/USDT", *given).returncode == 0
    expected = heatmap_of_csv(path, [(begin, end)], (begin, end), Decimal(5), 4_000)
    for statistic in ("last", "max", "integral"):
        heatmap = recording.heatmap(np.int64(begin), end, "5", np.int64(4_000), statistic)
        assert decimal_cells(heatmap) == expected[statistic]
        assert heatmap.covered_ms.tolist() == [4_000] * 7 + [2_000]
        assert not heatmap.gap.any()
        unit = Decimal(10) ** -heatmap.scale.quantity
        assert heatmap.total() * unit == sum(expected[statistic].values())
    # One side of a range of prices.
    best = int(heatmap.columns.best_asks[-1]) // 10**heatmap.scale.price
    low, high = Decimal(best), Decimal(best + 10)
    asks = recording.heatmap(begin, end, 5, 4_000, side="asks", price_from=low, price_to=high)
    assert asks.statistic == "max"
    assert 2 <= len(asks.prices) <= 3
    assert asks.total() > 0
    assert asks.unknown.shape == asks.lower_bound.shape == asks.values.shape


def test_what_makes_no_sense_in_a_heatmap_is_refused(recording: RecordingReader) -> None:
    begin = recording.segments[0].first_event_ms
    with pytest.raises(TypeError, match=r"not 0\.5"):
        recording.heatmap(begin, begin + 10, 0.5, 10)  # type: ignore[arg-type]
    refused: list[tuple[str, int, dict[str, Any], str]] = [
        ("0", 10, {}, "a price step is a positive decimal"),
        ("1e-19", 10, {}, "a price step is a positive decimal"),
        ("x", 10, {}, "step is a decimal such as"),
        ("NaN", 10, {}, "step is a decimal such as"),
        ("1", 0, {}, "too short"),
        ("1", 10, {"statistic": "mean"}, "mean"),
        ("1", 10, {"side": "left"}, "left"),
        ("1", 10, {"price_from": 3}, "together"),
        ("1", 10, {"price_from": 3, "price_to": "2"}, "above"),
    ]
    for step, bin_ms, more, words in refused:
        with pytest.raises(ValueError, match=words):
            recording.heatmap(begin, begin + 10, step, bin_ms, **more)
    with pytest.raises(ValueError, match="come after"):
        recording.heatmap(begin, begin, "1", 10)
    with pytest.raises(KnownError, match="longer bin"):
        recording.heatmap(1, 10**12, "1", 1)
    # Where nothing was recorded all is a gap.
    assert recording.heatmap(1, 21, "1e2", 10).gap.tolist() == [True, True]


def test_the_example_of_the_heatmap_runs(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORDERBOOK_DATA_DIR", str(recorded))
    exec(_example("example of a heatmap"), {})
    columns, wall, mean = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d+ columns of \d+ prices", columns)
    assert re.fullmatch(r"largest quantity: [\d.]+ at [\d.]+, \d{13}", wall)
    assert re.fullmatch(r"mean: [\d.]+", mean)


def test_a_recording_of_trades_only(recorded: Path, tmp_path: Path) -> None:
    row = "binance,TRXUSDT,1700000000000000,1700000000000009,7,buy,0.1,5"
    csv = tmp_path / "trades.csv"
    csv.write_text(f"exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n{row}\n")
    assert run_command(recorded, "import", str(csv)).returncode == 0
    with od.open_recording("TRX/USDT", data_dir=recorded) as recording:
        trades = recording.trades()
        assert (trades.ids.tolist(), trades.repaired.tolist()) == ([7], [False])
        assert (recording.segments, recording.gaps, list(recording.events())) == ([], [], [])


def test_the_example_is_right_where_sums_leave_64_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_ms = 1_700_000_000_000
    bids = [(f"0.0000{1200 - at}", f"{90_000_000_000 - at}.12345678") for at in range(30)]
    asks = [(f"0.0000{1201 + at}", f"{900_000_000 + at}.5") for at in range(30)]
    snapshot = {"lastUpdateId": 100, "bids": bids, "asks": asks}
    lines, truth = [f"{begin_ms}000000 {json.dumps(snapshot)}"], []
    for second in range(4):
        asks[0] = (asks[0][0], f"{10**10 * second + 1}.00000001")
        event = {"e": "depthUpdate", "E": begin_ms + 1000 * second, "s": "BTCUSDT"}
        event |= {"U": 101 + second, "u": 101 + second, "b": [], "a": asks[:1]}
        lines.append(f"{event['E']}000000 {json.dumps({'stream': 'btcusdt@depth', 'data': event})}")
        held, offered = (sum(Decimal(size) for _, size in side[:10]) for side in (bids, asks))
        truth.append(f"{event['E']} {round(float((held - offered) / (held + offered)), 3)}")
    capture = tmp_path / "wide.jsonl"
    capture.write_text("\n".join(lines) + "\n")
    assert run_command(tmp_path, "import", str(capture)).returncode == 0
    monkeypatch.setenv("ORDERBOOK_DATA_DIR", str(tmp_path))
    exec(_example(), {})
    output = capsys.readouterr().out.splitlines()
    assert output[1:4] == truth[:3]
    worth = sum(Decimal(price) * Decimal(size) for price, size in bids[:10])
    assert Decimal(output[4].removeprefix("worth: ")) == worth
    mean = sum(float(price) for price, _ in asks) / len(asks)
    assert float(output[5].removeprefix("mean ask: ")) == pytest.approx(mean)
    assert output[6] == "levels changed: 4"
    with od.open_recording("BTC/USDT", data_dir=tmp_path) as recording:
        book = recording.book_at(begin_ms)
    held = sum(Decimal(size) for _, size in bids)
    assert od.decimals([book.bids.total()], book.scale.quantity) == [held]
    assert od.floats([book.bids.total()], book.scale.quantity).tolist() == [float(held)]
    assert od.floats(book.bids.quantities, 8).tolist() == [float(size) for _, size in bids]


def test_the_help_says_how_sums_stay_exact() -> None:
    assert "bids.total(10)" in (od.open_recording.__doc__ or "")
    assert "total(count)" in (RecordingReader.book_at.__doc__ or "")
