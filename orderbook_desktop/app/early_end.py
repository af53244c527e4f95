"""Requests to end the program while no event loop handles them: as it starts, and as it ends.

It is imported before any other module. Until its handlers are installed, Ctrl-C ends in a
traceback, so it imports only what the interpreter, or the script that starts the program, has
loaded.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Final, NoReturn, Self

# The terminal's Ctrl-C, the system's request, and the end of the terminal.
STOPPING: Final = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
_STANDARD_ERROR: Final = 2


def is_heeded(number: signal.Signals) -> bool:
    """Whether the signal may end this process: an ignored SIGHUP stays ignored, for `nohup`.

    Other ignored signals end it nevertheless: a script's shell ignores SIGINT for a background
    command, although a SIGINT to that command is meant to end it.
    """
    return number.name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN


class EndAtOnce:
    """While the context lasts, a request to end ends the process at once, with `code`.

    Standard error gets `sentence`, if it is not empty. Both may change meanwhile. No exception is
    raised, which would run through modules that are only half imported. There is no clean-up, so
    nothing may be open that needs one. Enter it on the main thread.
    """

    def __init__(self, code: int, sentence: str = "") -> None:
        self.code = code
        self.sentence = sentence
        self._before: list[tuple[signal.Signals, signal.Handlers]] = []

    def __enter__(self) -> Self:
        for number in filter(is_heeded, STOPPING):
            # Python returns None for a handler that was not installed by Python code.
            before = signal.signal(number, self._end) or signal.SIG_DFL
            self._before.append((number, before))  # type: ignore[arg-type] # Or a callable.
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before:
            # `ignore_requests` holds to the very end: another handler would end the process by the
            # signal, after all its work is done.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, before)

    def _end(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.end_now()

    def end_now(self) -> NoReturn:
        """End the process as a request would."""
        if self.sentence:
            try:  # noqa: SIM105 (contextlib is not loaded yet)
                os.write(_STANDARD_ERROR, f"orderbook-desktop: {self.sentence}\n".encode())
            except OSError:
                pass
        os._exit(self.code)


def ignore_requests() -> None:
    """Ignore requests to end from now on: the process is ending with its own exit code."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
