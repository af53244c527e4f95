"""Numbers beside the targets they are meant to reach."""

from __future__ import annotations


class Targets:
    """Prints each number with its verdict; `exit_code` is 1 where one was missed."""

    def __init__(self) -> None:
        self.exit_code = 0

    def at_most(self, value: float, target: float) -> str:
        """Return the verdict on a number that should not exceed `target`."""
        return self._verdict(value <= target, f"<= {target:g}")

    def at_least(self, value: float, target: float) -> str:
        """Return the verdict on a number that should reach `target`."""
        return self._verdict(value >= target, f">= {target:g}")

    def _verdict(self, reached: bool, target: str) -> str:
        if not reached:
            self.exit_code = 1
        return f"(target {target}: {'reached' if reached else 'MISSED'})"
