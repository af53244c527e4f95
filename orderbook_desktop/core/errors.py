"""The exceptions of the program, all under one root.

    OrderbookError
    ├── KnownError              the environment failed: network, database, disk, bad input
    │   ├── SystemLack          this process gets no memory, thread or file handle any more
    │   ├── SystemRefusal       the system refuses to read or write something
    │   ├── MalformedMessage    a message from outside that cannot be understood
    │   │   └── OtherMarket     one of a market that is not recorded here
    │   ├── InexactValue        a decimal that no int64 scale can hold exactly
    │   └── DamagedChunk        a minute of the archive that differs from what was archived
    └── BugError                we have a bug

Layers above add their own `KnownError`s where they belong (`exchange/errors.py`,
`storage/errors.py`, or beside what raises them). `str()` of a `KnownError` is one sentence for the
person in front of the screen: what happened and what to do. Detail goes to the log.
"""

from __future__ import annotations

import errno
import inspect
from typing import ClassVar, dataclass_transform

_LACKS = {
    errno.EMFILE: "file handle",
    errno.ENFILE: "file handle",
    errno.ENOMEM: "memory",
}

_UNWRITTEN = {errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass_transform(eq_default=False)
class OrderbookError(Exception):
    """Root of every exception that this program raises on purpose.

    The annotated names of a subclass are its fields, as those of a dataclass with `eq=False`: each
    exception equals only itself. It is no real dataclass: to make seventy of these takes a
    noticeable part of the start. Nor is it frozen, since `contextlib` sets `__traceback__`.
    """

    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        """Take the annotated names of a subclass as further fields."""
        own = inspect.get_annotations(cls)
        cls._fields = tuple(dict.fromkeys((*cls._fields, *own)))

    def __init__(self, *values: object, **named: object) -> None:
        super().__init__(*values, *named.values())
        if not self._fields:
            # A `BugError` with a text, or a subclass that sets its attributes itself.
            return
        given = dict(zip(self._fields, values, strict=False)) | named
        missing = [name for name in self._fields if name not in given and not hasattr(self, name)]
        if missing or len(given) != len(values) + len(named) or given.keys() - {*self._fields}:
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(self._fields)}")
        self.__dict__.update(given)

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle the fields, however the exception was made."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[OrderbookError], args: tuple[object, ...], fields: dict[str, object]
) -> OrderbookError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class KnownError(OrderbookError):
    """The environment failed; `str()` is a sentence for the person using the program."""


class BugError(OrderbookError):
    """An invariant of the program does not hold; the program is at fault."""


class SystemLack(KnownError):
    """The system gives this process no more of `what`: memory, threads or file handles."""

    what: str

    def __str__(self) -> str:
        return (
            f"The system gives this program no further {self.what}; close other programs, or "
            "raise the limits of this one (see ulimit -a), and start it again."
        )

    @classmethod
    def of(cls, error: BaseException) -> SystemLack | None:
        """Return the lack that `error` reports; None where it reports none."""
        if isinstance(error, MemoryError):
            return cls("memory")
        if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
            return cls("thread")
        if isinstance(error, OSError) and error.errno in _LACKS:
            return cls(_LACKS[error.errno])
        return None


class SystemRefusal(KnownError):
    """The system refuses to read or write `what` (a file's name, or empty) for `reason`."""

    what: str
    reason: str

    def __str__(self) -> str:
        if self.what:
            return f"{self.what} can't be used ({self.reason}); choose another, or see to it."
        return (
            f"Something could not be written ({self.reason}); make room on the disk, or let the "
            "output go elsewhere."
        )

    @classmethod
    def of(cls, error: BaseException) -> SystemRefusal | None:
        """Return the refusal that `error` reports; None where it reports none."""
        if not isinstance(error, OSError) or not error.strerror:
            return None
        if isinstance(error.filename, str):
            return cls(error.filename, error.strerror)
        return cls("", error.strerror) if error.errno in _UNWRITTEN else None


class MalformedMessage(KnownError):
    """A message from outside that cannot be understood.

    `what` names the kind of message, `reason` the parser's finding, `excerpt` its start.
    """

    def __init__(self, what: str, reason: str, raw: bytes = b"") -> None:
        self.what = what
        self.reason = reason
        self.excerpt = raw[:120].decode("utf-8", "replace")
        super().__init__(what, reason)

    def __str__(self) -> str:
        return f"A {self.what} could not be read ({self.reason})."


class OtherMarket(MalformedMessage):
    """A message of a market that is not recorded here; `kind` names that market."""

    def __init__(self, kind: str, raw: bytes = b"") -> None:
        self.kind = kind
        super().__init__("depth message", f"it is of the {kind} market", raw)

    def __str__(self) -> str:
        return f"A {self.what} is of the {self.kind} market; only the spot market is recorded here."


class InexactValue(KnownError):
    """A decimal that the scale in use, or any int64 scale, cannot hold exactly.

    `beside` is another decimal, empty if `text` alone does not fit.
    """

    text: str
    exponent: int
    beside: str = ""

    @property
    def reason(self) -> str:
        """What does not fit, to go on a sentence with."""
        where = f"beside {_shown(self.beside)}" if self.beside else f"at 10^-{self.exponent}"
        return f"the value {_shown(self.text)} does not fit exactly into 64 bits {where}"

    def __str__(self) -> str:
        return f"T{self.reason[1:]}."


def _shown(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


class DamagedChunk(KnownError):
    """A stored chunk differs from what was archived; `reason` is the contradiction found."""

    reason: str

    def __str__(self) -> str:
        return f"An archived minute of the recording is damaged ({self.reason})."
