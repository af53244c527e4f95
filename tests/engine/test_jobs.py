"""Background tasks are ended together, and their failures are heard."""

from __future__ import annotations

import asyncio

import pytest

from orderbook_desktop.engine.jobs import Jobs


async def _fail() -> None:
    raise ZeroDivisionError("a bug")


@pytest.mark.expects_log(r"ERROR .*jobs: the sums ended unexpectedly")
async def test_a_failure_is_logged_and_told() -> None:
    heard: list[BaseException] = []
    jobs = Jobs(heard.append)
    task = jobs.start(_fail(), "the sums")
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert [type(error) for error in heard] == [ZeroDivisionError]
    await jobs.close()


async def test_close_cancels_what_runs_and_waits_for_it() -> None:
    ended = []

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    heard: list[BaseException] = []
    jobs = Jobs(heard.append)
    jobs.start(run(), "waiting")
    jobs.start(run(), "waiting")
    await asyncio.sleep(0)
    await jobs.close()
    assert ended == [True, True]
    assert heard == []
