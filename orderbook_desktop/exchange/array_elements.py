"""The elements of a long JSON array, cut out of the bytes as they arrive.

A list of all symbols has tens of megabytes. Decoding it in one step would take hundreds of
megabytes and block all other threads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from orderbook_desktop.core.errors import MalformedMessage

_LONGEST_ELEMENT: Final = 2**20
_BEGINNING: Final = 4096
# All text up to the next bracket outside of strings, and that bracket.
_to_next_bracket: Final = re.compile(
    rb'[^"\[\]{}]*+(?:"(?:[^"\\]++|\\.)*+"[^"\[\]{}]*+)*+([\[\]{}])', re.DOTALL
).match


class ArrayElements:
    """Cuts out the objects of the array that is the value of `key` in the document's object.

    Without a `key`, the document itself is the array. Only brackets are checked: the caller
    decodes each object by itself, so an odd object spoils no other. `is_whole` says that the end
    of the array was seen, `others` how many elements were no objects. `beginning` has the first
    bytes of the document.
    """

    def __init__(self, key: str = "") -> None:
        self.is_whole = False
        self.others = 0
        self.beginning = b""
        self._is_named = re.compile(
            rb'(?:^|[{,\s])"' + re.escape(key.encode()) + rb'"\s*:\s*\[\Z'
        ).search
        self._array_depth = 2 if key else 1
        self._depth = 0
        self._is_inside = False
        self._buffer = b""
        # Where the search for the next bracket begins, and where the element begins.
        self._at = 0
        self._element_at = 0

    def take(self, part: bytes) -> Iterator[bytes]:
        """Take the next bytes and iterate over the objects that they complete.

        Raises `MalformedMessage` where an element is longer than a mebibyte.
        """
        if len(self.beginning) < _BEGINNING:
            self.beginning += part[: _BEGINNING - len(self.beginning)]
        if self.is_whole:
            return
        self._buffer += part
        while (found := _to_next_bracket(self._buffer, self._at)) is not None:
            element = self._take_bracket(found)
            self._at = found.end()
            if self.is_whole:
                self._buffer = b""
                return
            if element is not None:
                yield element
        self._forget()

    def _take_bracket(self, found: re.Match[bytes]) -> bytes | None:
        """Take note of a bracket; return the object that it ends, if it ends one."""
        bracket = found[1]
        if bracket in b"[{":
            if self._is_inside and self._depth == self._array_depth:
                self._element_at = found.start(1)
            self._depth += 1
            if not self._is_inside and bracket == b"[" and self._depth == self._array_depth:
                self._is_inside = self._array_depth == 1 or bool(self._is_named(found[0]))
            return None
        self._depth -= 1
        if not self._is_inside:
            return None
        if self._depth < self._array_depth:
            self.is_whole = True
        elif self._depth == self._array_depth:
            if bracket == b"}":
                return self._buffer[self._element_at : found.end()]
            self.others += 1
        return None

    def _forget(self) -> None:
        """Drop the bytes that have been read, except those of an unfinished element."""
        is_amid = self._is_inside and self._depth > self._array_depth
        begin = self._element_at if is_amid else self._at
        self._buffer = self._buffer[begin:]
        self._at -= begin
        self._element_at -= begin
        if len(self._buffer) > _LONGEST_ELEMENT:
            raise MalformedMessage("list", "an element of more than 1 MiB")
