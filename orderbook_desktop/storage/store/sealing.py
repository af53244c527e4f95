"""Checksums of documents, over canonical bytes: with these a changed bit of any field is found.

The canonical bytes of a document are its fields in the order of their names, as MessagePack. It
tells text, bytes, whole numbers, floats, booleans, lists, tables and None apart, and writes each
value in one way only. `_id` is one of the fields. A *seal* is the field that has the checksum, a
CRC-32 as a signed number; it covers named fields, or all that are not seals.

A document whose fields have several writers has a seal for the fields of each writer, so that one
writer needs nothing of the others to seal what it writes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from orderbook_desktop.storage.store.schema import Document

SEAL: Final = "sum"


def _plain(value: object) -> int:
    """Return a whole number of the database's own type as one of Python's."""
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"a document has no values of the type {type(value).__name__}")


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_plain, order="sorted")


def canonical_bytes(fields: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of `fields`.

    Raises `TypeError` or `OverflowError` if a value has no canonical bytes, as is so for whole
    numbers beyond 64 bits. The program stores no such value.
    """
    return _encoder.encode(fields)


def checksum(fields: Mapping[str, Any]) -> int:
    """Return the checksum of `fields`. Raises what `canonical_bytes` raises."""
    return zlib.crc32(canonical_bytes(fields)) - (1 << 31)


def sealed(document: Document) -> Document:
    """Return `document` with its seal, which covers all other fields."""
    fields = {name: value for name, value in document.items() if name != SEAL}
    return {**fields, SEAL: checksum(fields)}


def is_sealed(document: Mapping[str, Any]) -> bool:
    """Whether the seal of `document` matches; false without a seal, too."""
    fields = {name: value for name, value in document.items() if name != SEAL}
    return _matches(document.get(SEAL), fields)


def part_seal(document: Mapping[str, Any], names: Iterable[str]) -> int:
    """Return the seal of the fields `names` of `document`, which has all of them."""
    return checksum({name: document[name] for name in names})


def is_part_sealed(document: Mapping[str, Any], seal: str, names: Iterable[str]) -> bool:
    """Whether `seal` of `document` matches its fields `names`; false if any of them is missing."""
    try:
        fields = {name: document[name] for name in names}
    except KeyError:
        return False
    return _matches(document.get(seal), fields)


async def change_sealed(
    collection: Any,
    parts: Mapping[str, Sequence[str]],
    query: Document,
    changes: Callable[[Document], Document],
) -> bool:
    """Change the document that matches `query`, and seal it; return whether there was one.

    `collection` is motor's, and `parts` names by seal the fields that it covers. `changes` returns
    the fields to be set, from the whole document. Nothing is changed if another process changes the
    same part meanwhile. A part that is damaged stays so: it gets a seal that doesn't match. Raises
    PyMongo's errors.
    """
    document = await collection.find_one(query)
    if document is None:
        return False
    changed = changes(document)
    touched = [seal for seal, names in parts.items() if not changed.keys().isdisjoint(names)]
    known = {seal: document.get(seal) for seal in touched}
    seals = {seal: _seal_again(document, changed, seal, parts[seal]) for seal in touched}
    done = await collection.update_one({**query, **known}, {"$set": {**changed, **seals}})
    return bool(done.matched_count)


def _seal_again(before: Document, changed: Document, seal: str, names: Sequence[str]) -> object:
    """Return the seal of a part after a change; one that doesn't match if it didn't before."""
    try:
        value = part_seal({**before, **changed}, names)
    except (KeyError, TypeError, ValueError, OverflowError):
        # It can't be sealed, so the seal before it doesn't match either.
        return before.get(seal)
    return value if is_part_sealed(before, seal, names) else value ^ 1


def _matches(seal: object, fields: Mapping[str, Any]) -> bool:
    if isinstance(seal, bool) or not isinstance(seal, int):
        return False
    try:
        return seal == checksum(fields)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return False
