"""The jobs of the library: their list, which any thread may read, and the queue that runs them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final

from msgspec.structs import replace

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.library_jobs import Job, JobKind, JobState
from orderbook_desktop.core.wording import counted
from orderbook_desktop.desk.library_work import JobResult, Place, Work, sentence_of
from orderbook_desktop.storage.failures import driver_failures_raised
from orderbook_desktop.system.tasks import end_tasks

_log = logging.getLogger(__name__)

# What was not done if a job is stopped.
_UNDONE: Final = {
    JobKind.OPEN: "it was not opened",
    JobKind.VERIFY: "nothing was proven",
    JobKind.EXPORT: "nothing was exported",
    JobKind.IMPORT: "nothing was imported",
    JobKind.PACK: "nothing was packed",
    JobKind.UNPACK: "nothing was unpacked",
    JobKind.REMOVE: "a part may be removed already; remove it again for the rest",
}
_REMARKS_AT_MOST: Final = 10


class JobList:
    """The jobs as they are now; any thread may read and change them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._jobs: dict[int, Job] = {}
        self._last = 0

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs in the order of their start."""
        with self._lock:
            return tuple(self._jobs.values())

    def add(self, kind: JobKind, what: str) -> int:
        """Add a job that waits; return its number."""
        with self._lock:
            self._last += 1
            self._jobs[self._last] = Job(self._last, kind, what)
            return self._last

    def get(self, number: int) -> Job | None:
        """Return a job; None if it was taken off."""
        with self._lock:
            return self._jobs.get(number)

    def change(self, number: int, **fields: object) -> None:
        """Change fields of a job that has not ended; otherwise do nothing."""
        with self._lock:
            job = self._jobs.get(number)
            if job is not None and not job.state.is_over:
                self._jobs[number] = replace(job, **fields)

    def end(self, number: int, state: JobState, result: JobResult) -> None:
        """Say how a job has ended."""
        told = {"sentence": result.sentence, "remarks": _some_of(result.remarks)}
        self.change(number, state=state, progress=None, step="", **told)

    def stopped(self, number: int) -> JobResult:
        """Return the result of a job that was stopped."""
        job = self.get(number)
        return JobResult("" if job is None else f"{job.title} was stopped: {_UNDONE[job.kind]}.")

    def take_off(self, number: int) -> None:
        """Forget a job that has ended."""
        with self._lock:
            job = self._jobs.get(number)
            if job is not None and job.state.is_over:
                del self._jobs[number]


class JobQueue:
    """Runs jobs one after another; made and used in the thread of the background loop.

    Await `run()`, and cancel it at the end. `failed` is called with an exception that is a bug, and
    `ended` with the number of each job that has run.
    """

    def __init__(
        self,
        jobs: JobList,
        place: Place,
        failed: Callable[[BaseException], None],
        ended: Callable[[int], None],
    ) -> None:
        self._jobs = jobs
        self._place = place
        self._failed = failed
        self._ended = ended
        self._waiting: deque[tuple[int, Work]] = deque()
        self._wake = asyncio.Event()
        self._running: tuple[int, asyncio.Task[None]] | None = None

    def put(self, number: int, work: Work) -> None:
        """Run `work` as the job `number` when those before it have ended."""
        self._waiting.append((number, work))
        self._wake.set()

    def stop(self, number: int) -> None:
        """Stop a job that waits or runs."""
        self._waiting = deque(one for one in self._waiting if one[0] != number)
        if self._running is not None and self._running[0] == number:
            self._jobs.change(number, state=JobState.STOPPING)
            self._running[1].cancel()
        else:
            self._jobs.end(number, JobState.STOPPED, self._jobs.stopped(number))

    async def run(self) -> None:
        """Run the jobs."""
        while True:
            while self._waiting:
                number, work = self._waiting.popleft()
                task = asyncio.create_task(self._run(number, work), name=f"job {number}")
                self._running = number, task
                try:
                    await asyncio.wait({task})
                finally:
                    await end_tasks(task)
                    self._running = None
                self._ended(number)
            self._wake.clear()
            await self._wake.wait()

    async def _run(self, number: int, work: Work) -> None:
        def show(progress: float | None, step: str) -> None:
            self._jobs.change(number, progress=progress, step=step)

        job = self._jobs.get(number)
        if job is None or job.state.is_over:
            return
        try:
            self._jobs.change(number, state=JobState.RUNNING)
            _log.info("user: %s", job.title)
            with driver_failures_raised():
                result = await work(self._place, show)
            state = JobState.DONE if result.is_good else JobState.FAILED
        except asyncio.CancelledError:
            state, result = JobState.STOPPED, self._jobs.stopped(number)
        except KnownError as error:
            state, result = JobState.FAILED, JobResult(sentence_of(error))
        except Exception as error:  # noqa: BLE001 (the next job runs after any failure)
            _log.exception("%s failed unexpectedly", job.title)
            self._failed(error)
            name = type(error).__name__
            text = f"{job.title} failed unexpectedly ({name}); the details are in the log."
            state, result = JobState.FAILED, JobResult(text)
        _log.info("%s", result.sentence)
        self._jobs.end(number, state, result)


def _some_of(remarks: Sequence[str]) -> tuple[str, ...]:
    """Return as many remarks as a person reads; an export has one for each gap."""
    more = len(remarks) - _REMARKS_AT_MOST
    if more <= 0:
        return tuple(remarks)
    return (*remarks[:_REMARKS_AT_MOST], f"And {counted(more, 'more remark')}.")
