"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class WorkProgress:
    """Shows how far some work is; elsewhere than on a terminal it shows nothing.

    Use it as a context manager.
    """

    def __init__(self, what: str, console: Console | None = None) -> None:
        console = console or Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(what, total=1.0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, fraction: float | None, what: str | None = None) -> None:
        """Show that `fraction` (0 to 1; None: unknown) is done, of `what` where that is new.

        May be called in any thread.
        """
        if fraction is None:
            self._progress.update(self._task, total=None, description=what)
        else:
            done = min(1.0, fraction)
            self._progress.update(self._task, total=1.0, completed=done, description=what)
