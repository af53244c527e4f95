"""The progress bar: on terminals, and nowhere else."""

from __future__ import annotations

import io

from rich.console import Console

from orderbook_desktop.app.commands.work_progress import WorkProgress


def _shown(*, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    with WorkProgress("Reading", console) as progress:
        progress.show(None, "Reading (1,000 messages)")
        progress.show(0.25, "Writing")
        progress.show(1.5)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_terminal_shows_a_bar() -> None:
    shown = _shown(terminal=True)
    assert "Writing" in shown
    assert "100%" in shown


def test_elsewhere_it_is_silent() -> None:
    assert _shown(terminal=False) == ""
