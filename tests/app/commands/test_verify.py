"""The commands `verify` and `recordings`, each in its own process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from orderbook_desktop.app.commands.times import parse_time
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.recording_status import RecordingCounts
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import TradeOrigin
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.witness_taker import WitnessTaker, WitnessTimes
from orderbook_desktop.storage.server.server import DatabaseServer
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.tiles.cache import TileCache
from tests.app.command import run_command
from tests.storage.archive_fixtures import archiver_of
from tests.storage.imports.made import Collected, imported
from tests.storage.made_trades import asked, received
from tests.storage.processes import eventually
from tests.storage.recording_fixtures import ServerThread, SilentServer, Tape
from tests.storage.shelf import Shelf
from tests.storage.tiles.test_tiles import build_all
from tests.storage.trade_shelf import claim, put, recorded, touching, traded
from tests.unhurried import ENGINE_TIMES

Work = Callable[[Database], Awaitable[None]]


@pytest.fixture
def data_dir(server: ServerThread) -> Path:
    """A data folder whose database another process runs."""
    return server.folder


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The name of a database that only this test uses."""
    return f"t{abs(hash(request.node.name))}"


def work_on(folder: Path, name: str, work: Work) -> None:
    """Return the result of `work` on a database of a data folder."""

    async def run() -> None:
        async with DatabaseServer(folder) as server:
            database = Database(name)
            database.connect(server.dsn)
            await work(database)
            database.close()

    asyncio.run(run())


async def with_a_gap(database: Database) -> None:
    """A recording of two segments, the first of them archived."""
    shelf, tape = Shelf(database), Tape()
    one = await shelf.put(tape, 650, GapCause.DISCONNECT, "reset by peer")
    await shelf.archive(one)
    tape.diffs(30)
    await shelf.put(tape, 50)
    await shelf.put(Tape("ETHUSDT", seed=3, step_ms=1000), 10)


async def with_trades(database: Database) -> None:
    """Trades with a gap, with repaired ones, and with one that the book tells nothing of."""
    shelved = await Shelf(database).put(Tape(), 60)
    trades = touching(shelved.events)
    trades[30] = traded(31, shelved.events[30], "7.5")
    trades[5] = received(6, f=9, l=9, p=trades[5].price, T=trades[5].event_ms)
    await recorded(database, trades[:40])
    await recorded(database, trades[44:50])
    repaired = [asked(one.trade_id, p=one.price, T=one.event_ms) for one in trades[50:52]]
    await put(database, repaired)
    await claim(database, repaired, origin=TradeOrigin.REPAIR)
    await recorded(database, trades[52:])


def test_trades_are_proven_and_listed(data_dir: Path, name: str) -> None:
    work_on(data_dir, name, with_trades)
    done = run_command(data_dir, "verify", "BTC/USDT", "--db-name", name)
    # One of 54 is more than one of a thousand.
    assert done.returncode == 1
    assert done.stdout.startswith("BTC/USDT: the recording does not hold.\n")
    lines = [line.strip() for line in done.stdout.splitlines()]
    (trades,) = (line for line in lines if line.startswith("trades "))
    assert trades.startswith("trades    56 in 4 runs, ")
    assert "repaired  2 of them, which have no time of receipt" in lines
    (gap,) = (line for line in lines if line.startswith("trade gap"))
    assert gap.endswith("recording was stopped; 4 trades are missing, 41 to 44")
    (left_out,) = (line for line in lines if line.startswith("left out"))
    assert "3 trades by the exchange itself, at 1 place, the first after trade 5 (" in left_out
    (held,) = (line for line in lines if line.startswith("held"))
    assert held.startswith(
        "held      54 trades changed the book at their price; 1 did not, the first"
    )
    assert "trade 31 at 7.50000000 (" in held
    assert held.endswith("; 1 lies in gaps of the book, or beside one")
    assert "trade 31: 1 of 55 trades did not change the book at their price" in lines[-1]

    done = run_command(data_dir, "verify", "BTC/USDT", "--json", "--db-name", name)
    output = json.loads(done.stdout)
    fields, fault = output["trades"], output["fault"]
    assert (done.returncode, output["holds"], fault["trade"]) == (1, False, 31)
    assert (fields["trades"], fields["archived"], fields["runs"]) == (56, 27, 4)
    assert fields["repaired"] == 2
    assert (fields["held"], fields["not_held"], fields["not_judged"]) == (54, 1, 1)
    assert fields["first_not_held"]["price"] == "7.50000000"
    (gap_fields,) = fields["gaps"]
    assert (gap_fields["first_missing"], gap_fields["last_missing"]) == (41, 44)
    assert fields["left_out_by_exchange"]["first"][0]["after"] == 5

    done = run_command(data_dir, "recordings", "--db-name", name)
    assert (done.returncode, done.stderr) == (0, "")
    header, line, *sentences = done.stdout.splitlines()
    assert header.split() == [
        *("market", "from", "to", "events", "segments", "gaps", "trades", "trade", "gaps", "size")
    ]
    assert line.split()[5:-2] == ["60", "1", "0", "56", "1"]
    assert sentences[0] == "Gaps of the trades of BTCUSDT: user (1); `verify` lists them."
    assert "Trades repaired, so without a time of receipt: BTCUSDT (2)." in sentences
    done = run_command(data_dir, "recordings", "--json", "--db-name", name)
    (listed,) = json.loads(done.stdout)
    known = ("trades", "repaired", "runs", "gaps", "missing", "gap_causes", "bytes", "imports")
    assert [listed["trades"][field] for field in known] == [
        *(56, 2, 4, 1, 4, {"user": 1}, fields["bytes"], [])
    ]


def test_a_recording_is_proven_and_listed(data_dir: Path, name: str) -> None:
    work_on(data_dir, name, with_a_gap)
    done = run_command(data_dir, "verify", "btc/usdt", "--db-name", name)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("BTC/USDT: the recording holds.\n")
    assert "covered   0:01:09.800 of 0:01:12.900 (95.748%)" in done.stdout
    assert "0:00:03.100: the connection to the exchange was lost (reset by peer)" in done.stdout
    assert "events    700 in 2 segments, " in done.stdout

    done = run_command(data_dir, "verify", "BTCUSDT", "--json", "--db-name", name)
    output = json.loads(done.stdout)
    assert (done.returncode, output["holds"], output["fault"]) == (0, True, None)
    assert (output["covered_s"], output["gap_s"], output["events"]) == (69.8, 3.1, 700)
    assert output["bytes_per_event"] == round(output["bytes"] / 700, 2)
    (gap,) = output["gaps"]
    assert (gap["cause"], gap["detail"]) == ("disconnect", "reset by peer")
    assert gap["last_missing"] - gap["first_missing"] == 30 * 6 - 1
    assert parse_time(gap["from"]) == gap["from_ms"]

    done = run_command(
        *(data_dir, "verify", "BTCUSDT", "--db-name", name, "--json", "--from", gap["to"])
    )
    assert (json.loads(done.stdout)["gaps"], json.loads(done.stdout)["events"]) == ([], 50)

    done = run_command(data_dir, "recordings", "--json", "--db-name", name)
    first, second = json.loads(done.stdout)
    assert (first["market"], second["market"]) == ("BTCUSDT", "ETHUSDT")
    assert (first["events"], first["segments"], first["gaps"]) == (700, 2, 1)
    assert (first["gap_causes"], second["gap_causes"]) == ({"disconnect": 1}, {})
    assert (second["bytes"] > 0, second["running"]) == (True, False)
    assert parse_time(first["to"]) - parse_time(first["from"]) == 72_900
    done = run_command(data_dir, "recordings", "--db-name", name)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["market", "from", "to", "events", "segments", "gaps", "size"]
    assert [line.split()[0] for line in lines[1:3]] == ["BTCUSDT", "ETHUSDT"]
    # The size of the files is larger, and is printed as well.
    gaps, sentence = lines[3:]
    assert gaps == "Gaps of BTCUSDT: disconnect (1); `verify` lists them."
    assert sentence.startswith("Recorded: ")
    assert "; the folder of the database takes " in sentence
    assert first["folder_bytes"] == second["folder_bytes"] > 2 * first["bytes"]


def test_tiles_are_compared_and_are_no_part_of_the_recording(
    data_dir: Path, name: str, tmp_path: Path
) -> None:
    async def with_tiles(database: Database) -> None:
        await Shelf(database).put(Tape(step_ms=1_000), 90)
        await archiver_of(database, now_ns=lambda: 1 << 62).catch_up()
        cache = TileCache.of_database(data_dir, "", name, 1)
        await build_all(store_of(database), cache)

    before = set((data_dir / "tiles").rglob("*.tile"))
    work_on(data_dir, name, with_tiles)
    wrong, *others = set((data_dir / "tiles").rglob("*.tile")) - before
    # No more than a sample is compared.
    others, left_out = others[:12], others[12:]
    for path in left_out:
        path.unlink()
    wrong.write_bytes(b"not a tile")
    done = run_command(data_dir, "verify", "BTC/USDT", "--db-name", name)
    assert done.returncode == 0
    count = len(others) + 1
    said = f"a cache for the heatmap: {count} of {count} compared; 1 did not match, and is removed"
    assert f"tiles     {said}" in done.stdout
    assert not wrong.exists()
    done = run_command(data_dir, "verify", "BTC/USDT", "--json", "--db-name", name)
    tiles = json.loads(done.stdout).get("tiles", {"kept": 0, "compared": 0, "wrong": 0})
    assert tiles == {"kept": len(others), "compared": len(others), "wrong": 0}
    # With what they are made of they go.
    done = run_command(data_dir, "remove", "BTC/USDT", "--yes", "--db-name", name)
    assert done.returncode == 0, done.stderr
    assert not any(path.exists() for path in others)


def test_what_was_healed_is_listed_with_what_healed_it(
    data_dir: Path, name: str, tmp_path: Path
) -> None:
    async def heal(database: Database) -> None:
        shelf, tape = Shelf(database), Tape(step_ms=700)
        await shelf.put(tape, 20, GapCause.DISCONNECT, "reset by peer")
        tape.diffs(10)
        await shelf.put(tape, 40, GapCause.USER)
        await imported(database, Collected().snapshot().events(70).messages, tmp_path)

    work_on(data_dir, name, heal)
    done = run_command(data_dir, "recordings", "--json", "--db-name", name)
    (found,) = json.loads(done.stdout)
    assert (found["gaps"], found["gap_causes"], found["events"]) == (0, {}, 70)
    (healed,) = found["healed"]
    assert healed["to_ms"] - healed["from_ms"] == 11 * 700
    assert healed["last_id"] - healed["first_id"] == 10 * 6 - 1
    assert (healed["cause"], healed["detail"]) == ("disconnect", "reset by peer")
    assert healed["by"] == "an import"
    done = run_command(data_dir, "recordings", "--db-name", name)
    assert "Healed gaps of BTCUSDT: disconnect, by an import (1).\n" in done.stdout


def test_a_fault_is_reported_with_its_place(data_dir: Path, name: str) -> None:
    async def spoil(database: Database) -> None:
        await with_a_gap(database)
        await database.collection("depth_chunks").update_one({}, {"$set": {"event_count": 1}})

    work_on(data_dir, name, spoil)
    done = run_command(data_dir, "verify", "BTC/USDT", "--db-name", name)
    assert done.returncode == 1
    assert "BTC/USDT: the recording does not hold." in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("BTCUSDT, segment 0")
    assert "update id 5000000" in last
    assert last.endswith("is damaged (its event_count is not that of its contents).")
    done = run_command(data_dir, "verify", "BTC/USDT", "--json", "--db-name", name)
    output = json.loads(done.stdout)
    assert (done.returncode, output["holds"]) == (1, False)
    assert output["fault"]["update_id"] >= 5_000_000_000
    assert run_command(data_dir, "verify", "ETH/USDT", "--db-name", name).returncode == 0


def test_without_a_recording_there_is_one_sentence(
    data_dir: Path, name: str, tmp_path: Path
) -> None:
    """A look for recordings creates no file."""
    for arguments in (["recordings"], ["verify", "BTC/USDT"]):
        done = run_command(tmp_path / "none", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("orderbook-desktop: Nothing is recorded in the folder ")
        assert not (tmp_path / "none" / "database").exists()
    work_on(data_dir, name, with_a_gap)
    done = run_command(data_dir, "recordings", "--db-name", "other")
    assert done.returncode == 1
    assert done.stderr.startswith("orderbook-desktop: Nothing is recorded in the database other at")
    cases = {
        ("verify", "DOGE/USDT"): (1, "DOGE/USDT is not recorded; see `orderbook-desktop rec"),
        ("verify", "no/such/thing"): (1, "SYMBOL is 'no/such/thing', but must be a spot symbol"),
        ("verify", "BTC/USDT", "--to", "2001-01-01"): (1, "BTC/USDT is not recorded at that time"),
        ("verify", "BTC/USDT", "--from", "2002-01-01", "--to", "2001-01-01"): (
            1,
            "must be a time after --from.",
        ),
        ("verify", "BTC/USDT", "--to", "soon"): (2, "'soon' is not an ISO 8601 time"),
        ("recordings", "--mongo-dsn", "mongodb://127.0.0.1:1"): (1, "127.0.0.1:1 does not answer"),
    }
    for command, (code, sentence) in cases.items():
        done = run_command(data_dir, *command, "--db-name", name)
        assert (done.returncode, done.stdout) == (code, ""), command
        assert sentence in " ".join(done.stderr.replace("│", " ").split()), command


def test_a_damaged_document_is_one_sentence(data_dir: Path, name: str) -> None:
    async def spoil(database: Database) -> None:
        await with_a_gap(database)
        await database.collection("segments").update_one({}, {"$unset": {"last_id": ""}})

    work_on(data_dir, name, spoil)
    done = run_command(data_dir, "recordings", "--db-name", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("orderbook-desktop: A document of the recording is damaged")
    assert done.stderr.count("\n") == 1
    done = run_command(data_dir, "verify", "BTC/USDT", "--db-name", name)
    assert done.returncode == 1
    assert "A document of the recording is damaged" in done.stdout


async def test_ctrl_c_stops_verify(silent_server: SilentServer) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orderbook_desktop", "verify", "BTC/USDT"),
        *("--mongo-dsn", silent_server.dsn),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        await silent_server.until_somebody_came()
        process.send_signal(signal.SIGINT)
        _, output = await process.communicate()
    assert output == b"orderbook-desktop: Stopped; nothing was proven.\n"
    assert process.returncode == 1


def _has_more(counts: RecordingCounts, events: int) -> bool:
    return counts.events > events


async def test_a_recording_that_goes_on_is_proven_by_its_witnesses(settings: Settings) -> None:
    """The proof runs in another process, which joins this process's database."""
    engine = Engine(settings, times=ENGINE_TIMES)
    taker = WitnessTaker(engine.rest.snapshot, engine.database, WitnessTimes(0.0, 0.0, 0.0))
    try:
        await engine.start()
        await engine.until_database()
        lease = engine.open_market("BTC/USDT", viewed=False)
        session = lease.session
        session.set_recording(wanted=True)
        session.start()
        counts = session.sink.counts
        for number in range(5):
            await eventually(partial(_has_more, counts, 10 * number + 5))
            await taker.look([session])
        witnesses = engine.database.collection("witnesses")
        assert await witnesses.count_documents({}) >= 2
        last_ids = [one["update_id"] async for one in witnesses.find({})]
        await eventually(lambda: counts.last_id > max(last_ids))
        # A segment's end is stored every second.
        further = {"last_id": {"$gt": max(last_ids)}}
        async with asyncio.timeout(60):
            while not await engine.database.collection("segments").count_documents(further):
                await asyncio.sleep(0.1)
        done = await asyncio.to_thread(
            run_command, settings.data_dir, "verify", "BTC/USDT", "--json"
        )
        lease.close()
    finally:
        await engine.close()
    output = json.loads(done.stdout)
    assert (done.returncode, output["fault"]) == (0, None)
    assert output["witnesses"] >= 2
