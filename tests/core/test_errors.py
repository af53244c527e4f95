from __future__ import annotations

import copy
import errno
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from orderbook_desktop.core.errors import (
    BugError,
    InexactValue,
    KnownError,
    MalformedMessage,
    OrderbookError,
    OtherMarket,
    SystemLack,
    SystemRefusal,
)


def test_a_malformed_message_is_told_in_a_sentence_and_shown_in_part() -> None:
    error = MalformedMessage("depth event", "no update ids", b"{\xff" + b"x" * 500)
    assert str(error) == "A depth event could not be read (no update ids)."
    assert error.excerpt == "{\ufffd" + "x" * 118
    assert isinstance(error, KnownError)


def test_a_message_of_another_market_names_it() -> None:
    error = OtherMarket("futures", b"{}")
    assert "is of the futures market" in str(error)
    assert isinstance(error, MalformedMessage)


def test_an_inexact_value_is_told_in_a_sentence_however_long_it_is() -> None:
    error = InexactValue("0.123456789", 8)
    assert str(error) == "The value 0.123456789 does not fit exactly into 64 bits at 10^-8."
    assert str(InexactValue("93000000000", 8, "0.12345678")) == (
        "The value 93000000000 does not fit exactly into 64 bits beside 0.12345678."
    )
    long = InexactValue("9" * 5000, 8)
    assert long.text == "9" * 5000
    assert len(str(long)) < 120


def test_a_bug_is_not_a_failure_of_the_environment() -> None:
    assert issubclass(BugError, OrderbookError)
    assert not issubclass(BugError, KnownError)


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (MemoryError(), "memory"),
        (RuntimeError("can't start new thread"), "thread"),
        (OSError(errno.EMFILE, "Too many open files"), "file handle"),
        (OSError(errno.ENFILE, "Too many open files in system"), "file handle"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
    ],
)
def test_what_the_system_denies_is_no_bug(error: Exception, what: str) -> None:
    assert f"no further {what};" in str(SystemLack.of(error))


@pytest.mark.parametrize("error", [RuntimeError("x"), OSError(errno.ENOENT, "x"), KeyError("x")])
def test_anything_else_may_be_a_bug(error: Exception) -> None:
    assert SystemLack.of(error) is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long", "f"), "f can't be used (File name too"),
        (PermissionError(errno.EACCES, "Permission denied", "f"), "f can't be used (Permission d"),
        (OSError(errno.ENOSPC, "No space left"), "Something could not be written (No space left)"),
    ],
)
def test_what_the_system_refuses_is_no_bug(error: Exception, told: str) -> None:
    assert str(SystemRefusal.of(error)).startswith(told)


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "x"), OSError("x"), ValueError("x")])
def test_what_the_system_never_refused_may_be_a_bug(error: Exception) -> None:
    assert SystemRefusal.of(error) is None


def test_an_error_with_fields_can_be_raised_through_a_context_copied_and_pickled() -> None:
    @contextmanager
    def passing() -> Iterator[None]:
        yield

    cause = OSError("no")
    with pytest.raises(SystemRefusal) as caught, passing():
        raise SystemRefusal(what="file", reason="no") from cause
    assert caught.value.__cause__ is cause
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert (type(again), again.what, again.reason) == (SystemRefusal, "file", "no")
        assert str(again) == str(caught.value)
        # An exception equals only itself, and can be a key.
        assert len({again, caught.value}) == 2


def test_an_error_that_makes_its_fields_is_pickled_too() -> None:
    error = MalformedMessage("message", "is cut", b"{" * 200)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.excerpt) == (str(error), "{" * 120)


class _Told(KnownError):
    what: str
    times: int = 1


def test_the_annotated_names_are_fields_with_their_defaults() -> None:
    told = _Told("a file")
    assert (told.what, told.times, told.args) == ("a file", 1, ("a file",))
    assert (_Told(what="a file", times=2).times, _Told("a file", 3).times) == (2, 3)


@pytest.mark.parametrize("values", [(), ("a", 1, 2)])
def test_an_error_with_other_fields_is_a_bug(values: tuple[object, ...]) -> None:
    made: Callable[..., KnownError] = _Told
    with pytest.raises(TypeError, match="_Told has the fields what, times"):
        made(*values)
    with pytest.raises(TypeError):
        made("a", other=1)
    with pytest.raises(TypeError):
        made("a", what="b")
