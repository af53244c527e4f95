"""Objects cut out of a long array, wherever the bytes are cut."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.exchange.array_elements import ArrayElements

values = st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from(['"', "]}", '\\"[', '"symbols":[']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), values, max_size=4)


def cut(document: bytes, key: str, size: int) -> tuple[list[Any], ArrayElements]:
    elements = ArrayElements(key)
    found: list[Any] = []
    for at in range(0, len(document), size):
        found += [json.loads(one) for one in elements.take(document[at : at + size])]
    return found, elements


@given(st.lists(objects, max_size=5), values, st.integers(1, 40), st.booleans())
def test_what_is_cut_out_is_what_was_put_in(
    wanted: list[Any], other: Any, size: int, is_ascii: bool
) -> None:
    document = {"rateLimits": [other], "x": {"symbols": other}, "symbols": wanted, "y": other}
    text = json.dumps(document, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    found, elements = cut(text, "symbols", size)
    assert found == wanted
    assert elements.is_whole
    assert elements.beginning == text[:4096]


@given(st.lists(objects, max_size=5), st.integers(1, 40))
def test_the_document_may_be_the_array(wanted: list[Any], size: int) -> None:
    found, elements = cut(json.dumps(wanted).encode(), "", size)
    assert found == wanted
    assert elements.is_whole


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"[]", b'{"symbols":7}', b'{"symbols":{}}', b'{"symbols":[{"a":1}', b"}}]]",
     b"<html>", b'{"a\\"symbols":[{}]', b'{"x":{"symbols":[{}]}}'],
)  # fmt: skip
def test_where_there_is_no_such_array_it_is_not_whole(document: bytes) -> None:
    assert not cut(document, "symbols", 5)[1].is_whole


def test_what_is_no_object_is_counted_only() -> None:
    found, elements = cut(b'{"symbols":["a",[1,{"b":2}],null,{"c":3}]}', "symbols", 100)
    assert found == [{"c": 3}]
    assert elements.others == 1


@pytest.mark.parametrize("filler", [b"x", b"[", b'"', b"{", b'{"a":['])
def test_an_element_has_a_bound(filler: bytes) -> None:
    elements = ArrayElements("symbols")
    parts = (b'{"symbols":[{"a":"', *[filler * 10_000] * 1000)
    with pytest.raises(MalformedMessage, match="1 MiB"):
        deque((list(elements.take(part)) for part in parts), maxlen=0)
