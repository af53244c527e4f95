"""The stage of the play: the exchange, a recorder, a viewer and their disk, and faults at work."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import psutil

from orderbook_desktop.system.ports import private_port
from tests.faults.chaos.disk import Disk
from tests.faults.chaos.plan import OF_EXCHANGE, Fault, Happened, Kind
from tests.faults.program import Program, running
from tests.storage.processes import ROOT

_CLOCK = Path(__file__).parents[1] / "jumping_clock"
_SOON_S = 0.2


class Actor:
    """A command of the program that is started again whenever it has ended."""

    def __init__(self, data_dir: Path, arguments: Sequence[str], variables: dict[str, str]) -> None:
        self.said: list[str] = []
        self.codes: list[int] = []
        self._data_dir = data_dir
        self._arguments = arguments
        self._variables = variables
        self._stack = AsyncExitStack()
        self._program: Program | None = None
        self.changing = asyncio.Lock()

    @property
    def program(self) -> Program:
        """The one that runs, or ran last."""
        assert self._program is not None
        return self._program

    @property
    def pid(self) -> int | None:
        return self._program.pid if self._program and self._program.running else None

    async def start(self) -> None:
        program = running(self._data_dir, *self._arguments, variables=self._variables)
        self._program = await self._stack.enter_async_context(program)

    async def end(self) -> int:
        """Ask it to end, as Ctrl-C does; return the exit code."""
        code = await self.program.end()
        await self._ended(code)
        return code

    async def kill(self) -> None:
        await self.program.kill()
        await self._ended(-signal.SIGKILL)

    async def look_after(self) -> None:
        """Start it again where it has ended by itself, as on a disk that is full; for ever."""
        while True:
            await asyncio.sleep(1)
            async with self.changing:
                if not self.program.running:
                    await self._ended(await self.program.until_ended())
                    await self.start()

    async def _ended(self, code: int) -> None:
        self.codes.append(code)
        self.said.append(self.program.said)
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def close(self) -> None:
        await self._stack.aclose()


class Stage:
    """What the faults are done to; `happened` has those that were done."""

    def __init__(
        self, data_dir: Path, symbols: Sequence[str], disk: Disk | None, faults: Sequence[Fault]
    ) -> None:
        self.happened: list[Happened] = []
        self.symbol_count = len(symbols)
        self.web_port = private_port()
        self.begun = time.monotonic()
        self.exchange: asyncio.subprocess.Process
        self.recorder: Actor
        self.viewer: Actor
        self._data_dir = data_dir
        self._symbols = symbols
        self._disk = disk
        self._faults = faults
        self._url = ""

    @asynccontextmanager
    async def set_up(self, seed: int, truth: Path) -> AsyncIterator[None]:
        """Start everything; it is killed in the end, unless it has ended."""
        markets = ",".join(symbol.replace("/", "") for symbol in self._symbols)
        arguments = ("--seed", str(seed), "--markets", markets, "--truth", str(truth))
        self.exchange = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.chaos.exchange", *arguments),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert self.exchange.stdout is not None
            self._url = f"http://127.0.0.1:{int(await self.exchange.stdout.readline())}"
            self.begun = time.monotonic()
            self.recorder = self._actor("record", *self._symbols)
            serving = ("serve", *self._symbols, "--port", str(self.web_port))
            self.viewer = self._actor(*serving)
            await self.recorder.start()
            await self.recorder.program.until_said(": synced")
            await self.viewer.start()
            yield
        finally:
            for actor in (self.recorder, self.viewer):
                await actor.close()
            with suppress(ProcessLookupError):
                self.exchange.kill()
            await self.exchange.wait()

    async def perform(self, tell: Callable[[str], None]) -> None:
        """Do the faults at their times, several at once where they overlap."""
        watches = [asyncio.create_task(one.look_after()) for one in (self.recorder, self.viewer)]
        try:
            async with asyncio.TaskGroup() as group:
                for fault in self._faults:
                    await asyncio.sleep(self.begun + fault.at_s - time.monotonic())
                    tell(f"{fault.at_s:8.1f} s  {fault}")
                    group.create_task(self._do(fault))
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    def database_pids(self) -> list[int]:
        """Return the processes of the database, whichever of the two has it."""
        pids: list[int] = []
        for actor in (self.recorder, self.viewer):
            with suppress(psutil.NoSuchProcess):
                if actor.pid:
                    children = psutil.Process(actor.pid).children(recursive=True)
                    pids += [child.pid for child in children]
        return pids

    async def end(self) -> None:
        """Ask recorder and viewer to end."""
        await self.recorder.end()
        await self.viewer.end()

    async def end_exchange(self) -> int:
        """Let the exchange close its truth; return its exit code."""
        assert self.exchange.stdin is not None
        self.exchange.stdin.close()
        async with asyncio.timeout(60):
            return await self.exchange.wait()

    def _actor(self, *arguments: str) -> Actor:
        steps = [fault for fault in self._faults if fault.kind is Kind.STEP_CLOCK]
        variables = {
            "ORDERBOOK_REST_URL": self._url,
            "ORDERBOOK_WS_URL": self._url.replace("http", "ws"),
            # Others fill the disk at once, not little by little.
            "ORDERBOOK_LOW_DISK_GB": "0",
            # The clock of this computer, for all that is ours on it.
            "PYTHONPATH": str(_CLOCK),
            "CLOCK_JUMPS": ",".join(f"{self.begun + one.at_s}:{one.order['by']}" for one in steps),
        }
        return Actor(self._data_dir, arguments, variables)

    async def _do(self, fault: Fault) -> None:
        begin_ms = _now_ms()
        if fault.kind in OF_EXCHANGE:
            self._order({"kind": fault.kind.value, "seconds": fault.seconds, **fault.order}, fault)
            await asyncio.sleep(fault.seconds)
        elif fault.kind is Kind.HOSTILE_FRAME:
            self._order(fault.order, fault)
        elif fault.kind is Kind.HOSTILE_ANSWER:
            self._order(fault.order, fault)
            # So that a book is asked for.
            self._order({"kind": Kind.DISCONNECT.value}, fault)
        else:
            await self._do_here(fault)
        self.happened.append(Happened(fault, begin_ms, _now_ms()))

    async def _do_here(self, fault: Fault) -> None:
        match fault.kind:
            case Kind.KILL_RECORDER | Kind.KILL_BOTH | Kind.STOP_RECORDER:
                await self._take_away(self.recorder, fault)
            case Kind.KILL_VIEWER:
                await self._take_away(self.viewer, fault)
            case Kind.KILL_DATABASE:
                _signal(self.database_pids(), signal.SIGKILL)
            case Kind.SUSPEND_RECORDER:
                await _suspended([self.recorder.pid], fault.seconds)
            case Kind.SUSPEND_VIEWER:
                await _suspended([self.viewer.pid], fault.seconds)
            case Kind.SUSPEND_EXCHANGE:
                await _suspended([self.exchange.pid], fault.seconds)
            case Kind.SUSPEND_DATABASE:
                await _suspended(self.database_pids(), fault.seconds)
            case Kind.FULL_DISK:
                assert self._disk is not None
                await self._disk.full_for(fault.seconds)
            case Kind.SLOW_DISK:
                assert self._disk is not None
                await self._disk.slow_for(fault.seconds)

    async def _take_away(self, actor: Actor, fault: Fault) -> None:
        async with actor.changing:
            if not actor.program.running:
                return
            if fault.kind is Kind.STOP_RECORDER:
                await actor.end()
            else:
                if fault.kind is Kind.KILL_BOTH:
                    _signal(self.database_pids(), signal.SIGKILL)
                await actor.kill()
            await asyncio.sleep(fault.seconds)
            await actor.start()

    def _order(self, order: Mapping[str, object], fault: Fault) -> None:
        """Tell the exchange; where it is suspended it does it afterwards."""
        assert self.exchange.stdin is not None
        line = json.dumps({**order, "symbol": fault.market})
        self.exchange.stdin.write(line.encode() + b"\n")


async def _suspended(pids: Sequence[int | None], seconds: float) -> None:
    known = [pid for pid in pids if pid]
    _signal(known, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        _signal(known, signal.SIGCONT)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
