"""Random faults, all from one seed, while it is recorded and watched; then all is compared.

`python -m tests.faults.chaos [--minutes 30] [--seed 1] [--symbols 10]` records the made-up
market of a local exchange and serves it to viewers, while processes are killed, stopped and
suspended, connections cut, the disk is full or slow (for that it takes root, on Linux), the
clock steps, and the exchange is hostile. Each fault is told when it begins. In the end nothing
that was acknowledged may be lost, nothing that was shown as synced may be false, each gap has
to have its true cause, `verify` has to hold, and memory has to be flat. Exit code 1: that is
not so, and what is said.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from orderbook_desktop.exchange.local import SyntheticSource
from tests.child_signals import send_without_looking
from tests.faults.chaos.audience import MemoryWatch, Viewer, WholeProbe
from tests.faults.chaos.disk import Disk, mounted
from tests.faults.chaos.judgement import (
    Verdict,
    judge_by_verify,
    judge_codes,
    judge_leftovers,
    judge_memory,
    judge_recording,
    judge_sightings,
    judge_texts,
    read_truth,
)
from tests.faults.chaos.plan import EVERY_S, OF_DISK, Kind, planned
from tests.faults.chaos.stage import Stage
from tests.storage.processes import eventually

# After the last fault everything has to work again, within so long.
_RECOVERED_WITHIN_S = 90.0
_QUIET_S = 8.0


async def play(
    folder: Path,
    duration_s: float,
    seed: int,
    symbol_count: int,
    kinds: Sequence[Kind],
    tell: Callable[[str], None] = lambda _text: None,
    every_s: float = EVERY_S,
) -> Verdict:
    """Play, and judge; `kinds` are the faults that may be, where they are possible here."""
    listings = list(SyntheticSource(seed).listings.values())[:symbol_count]
    symbols = [f"{one.base}/{one.quote}" for one in listings]
    markets = [one.market for one in listings]
    verdict = Verdict()
    async with AsyncExitStack() as stack:
        disk: Disk | None = None
        if Disk.possible() and OF_DISK & set(kinds):
            disk = stack.enter_context(mounted(folder / "disk"))
        elif OF_DISK & set(kinds):
            tell("The disk is neither full nor slow in this play: that takes root, on Linux.")
        possible = [kind for kind in kinds if disk or kind not in OF_DISK]
        data_dir = (disk.folder if disk else folder) / "data"
        faults = planned(seed, duration_s, markets, possible, every_s)
        stage = Stage(data_dir, symbols, disk, faults)
        probe = WholeProbe(data_dir)
        truth_file = folder / "truth"
        async with stage.set_up(seed, truth_file), probe.following():
            viewer = Viewer(stage.web_port, symbols, seed)
            memory = MemoryWatch(lambda: _parts(stage))
            watching = [viewer.ask(), viewer.follow(), memory.watch()]
            tasks = [asyncio.create_task(one) for one in watching]
            try:
                await stage.perform(tell)
                await _recover(stage, viewer, verdict)
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
            await stage.end()
            if await stage.end_exchange() != 0:
                verdict.faults.append("the exchange of the play failed")
        verdict.faults += [f"the play failed: {one!r}" for one in ended if _is_failure(one)]
        verdict.faults += viewer.faults
        tell("Played; now it is compared.")
        judge_leftovers(verdict, data_dir)
        await judge_by_verify(verdict, data_dir, symbols)
        truths = read_truth(truth_file)
        await judge_recording(verdict, data_dir, truths, probe, stage.happened)
        judge_sightings(verdict, truths, viewer.sightings)
        judge_texts(verdict, data_dir, [*stage.recorder.said, *stage.viewer.said])
        judge_memory(verdict, memory.samples)
        verdict.counts["faults done"] = len(stage.happened)
        judge_codes(verdict, "recorder", stage.recorder.codes)
        judge_codes(verdict, "viewer", stage.viewer.codes)
        verdict.counts.update({f"shown as {name}": n for name, n in viewer.statuses.items()})
    return verdict


async def _recover(stage: Stage, viewer: Viewer, verdict: Verdict) -> None:
    """Wait until books of all symbols are shown as right again."""
    begun = len(viewer.sightings)

    def seen() -> set[str]:
        return {one.market for one in viewer.sightings[begun:]}

    try:
        await eventually(lambda: len(seen()) == stage.symbol_count, _RECOVERED_WITHIN_S)
    except TimeoutError:
        verdict.faults.append(f"a minute after the last fault only {sorted(seen())} are synced")
    await asyncio.sleep(_QUIET_S)


def _parts(stage: Stage) -> dict[str, list[int]]:
    return {
        "recorder": [stage.recorder.pid] if stage.recorder.pid else [],
        "viewer": [stage.viewer.pid] if stage.viewer.pid else [],
        "database": stage.database_pids(),
        "exchange": [stage.exchange.pid],
    }


def _is_failure(ended: object) -> bool:
    return isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError)


def main() -> int:
    parser = argparse.ArgumentParser(description="Random faults, and what comes of them.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--symbols", type=int, default=10)
    parser.add_argument("--every", type=float, default=EVERY_S, help="seconds between faults")
    every = [kind.value for kind in Kind]
    parser.add_argument("--only", action="append", default=[], choices=every, metavar="FAULT")
    parser.add_argument("--without", action="append", default=[], choices=every, metavar="FAULT")
    given = parser.parse_args()
    chosen = [Kind(one) for one in given.only or every if one not in given.without]
    send_without_looking()

    def tell(text: str) -> None:
        print(text, flush=True)

    with tempfile.TemporaryDirectory(prefix="chaos") as folder:
        path = Path(folder).resolve()
        verdict = asyncio.run(
            play(path, given.minutes * 60, given.seed, given.symbols, chosen, tell, given.every)
        )
    for name, count in sorted(verdict.counts.items()):
        tell(f"{count:12,} {name}")
    for name, count in verdict.gaps.items():
        tell(f"{count:12,} gaps: {name}")
    for fault in verdict.faults:
        tell(f"FAULT: {fault}")
    tell(f"{len(verdict.faults)} faults with seed {given.seed}")
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
