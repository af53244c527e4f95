"""The command `heatmap`: a picture and exact cells of a recorded range, without a window."""

from __future__ import annotations

import asyncio
import csv
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtGui import QImage

from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packed_store import open_packed
from orderbook_desktop.storage.tiles.cache import TileCache
from tests.app.command import run_command
from tests.storage.packed_fixtures import MARKET, packed, record_all_kinds
from tests.storage.reading.csv_heatmap import heatmap_of_csv
from tests.storage.reading.test_heatmaps import exported
from tests.storage.tiles.test_tiles import build_all


async def run(folder: Path, *arguments: object) -> tuple[int, str, str]:
    texts = [str(argument) for argument in arguments]
    done = await asyncio.to_thread(run_command, folder, "heatmap", *texts)
    return done.returncode, done.stdout, done.stderr


async def test_a_range_is_drawn_and_its_cells_are_written(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    await record_all_kinds(database)
    file, picture = tmp_path / "all.obd", tmp_path / "all.png"
    await packed(database, file)
    shape = "--width", 700, "--bin", 16_000
    code, out, err = await run(tmp_path, "--file", file, "-o", picture, *shape)
    assert code == 0, err
    assert out.startswith(f"{picture}: ")
    assert err.count("gap from ") == 3
    image = QImage(str(picture))
    assert (image.width(), image.height()) == (700, 900)
    assert "Orderbook Desktop" in image.text("Source")
    # By tiles the picture is the same.
    async with open_packed(file) as store:
        await build_all(store, TileCache.of_file(tmp_path, file, 1))
    assert len(list((tmp_path / "tiles").rglob("*.tile"))) > 5
    before = picture.read_bytes()
    code, _, err = await run(tmp_path, "--file", file, "-o", picture, *shape, "--force")
    assert code == 0, err
    assert picture.read_bytes() == before
    done = await asyncio.to_thread(run_command, tmp_path, "verify", str(file))
    assert done.returncode == 0
    assert "tiles     a cache for the heatmap: 20 of " in done.stdout
    code, _, err = await run(tmp_path, "--file", file, "-o", picture)
    assert (code, err.count("\n")) == (1, 1)

    recording = Recording(database, MARKET)
    timeline = await recording.timeline()
    span = timeline.from_ms + 1_000, timeline.to_ms - 1_000
    given = ["--from", span[0], "--to", span[1], "--statistic", "integral", "--bin", 60_000]
    given += ["--step", "5", "--price-from", "590", "--price-to", "610"]
    cells, arrays = tmp_path / "cells.csv", tmp_path / "cells.npz"
    for path in (cells, arrays):
        code, _, err = await run(tmp_path, MARKET, "--file", file, "-o", path, *given)
        assert code == 0, err
    await exported(recording, tmp_path / "rows.csv", *span)
    covers = [(cover.from_ms, cover.to_ms) for cover in timeline.covers]
    all_cells = heatmap_of_csv(tmp_path / "rows.csv", covers, span, Decimal(5), 60_000)
    expected = {at: sum_ for at, sum_ in all_cells["integral"].items() if 118 <= at[1] < 122}
    assert expected
    with cells.open(newline="") as text:
        found = {
            ((int(row["begin_ms"]) - span[0]) // 60_000, int(Decimal(row["price"]) // 5)): Decimal(
                row["value"]
            )
            for row in csv.DictReader(text)
            if row["value"]
        }
    assert found == expected
    with np.load(arrays) as held:
        total = (int(held["high"].sum()) << 32) + int(held["low"].sum())
        assert Decimal(total).scaleb(-int(held["quantity_exponent"])) == sum(expected.values())


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (("-o", "a.jpg"), 1, ".png, .csv or .npz"),
        (("-o", "a.png", "--price-from", "3"), 2, "together"),
        (("-o", "a.png", "--statistic", "mean"), 2, "mean"),
        (("-o", "a.png", "--bin", "0"), 2, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, given: tuple[str, ...], code: int, words: str
) -> None:
    done = run_command(tmp_path, "heatmap", "BTC/USDT", *given)
    assert done.returncode == code
    assert words in done.stderr
