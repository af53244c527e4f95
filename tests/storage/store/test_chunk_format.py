"""The stored format doesn't change: chunks of earlier versions are read, and written alike."""

from __future__ import annotations

import base64

import msgspec
from msgspec.structs import replace

from orderbook_desktop.core.archive import ArchiveChunk, decode_chunk, encode_chunk, encode_loose
from orderbook_desktop.core.events import decode_diff
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.storage.store.packing import pack_chunk, unpack_chunk
from tests.core.archive.runs import Run, run_of, spelt
from tests.core.reference_book import snapshot_payload

# Written by the first version, with every column in use.
CHUNK = """
5J/hiG42k3SnBu831B+5E5KeAadCVENVU0RUlwzNA+nNBGDPAAABi8/laADPAAABi8/lbE7PF5ec/jdbLQDPF5ec/njt6nPN
A+jPAAABi8/laAAICBcICM4AmJaAzgAPQkBlzgETCPKVlJLEDQAAAAAAAAAAAAAAAADEAJLEDQAJCQkJCQkJCQkJCQnEAJLE
DQCHAAAFAAAFAAAFAADEBTbPyp8XksQNAF1bAF1bUl1cVF1cVcQZDiQ+kDiX1rKir0JkRe+agVXowfoIxAiQAZWSxBEASQoK
CgoKCgpJCgoKCgoKCsQDxysDksQNAAEAAQAAAAAAAAAAAMQAksQNAAACAAEAAAAAAAAAAMQAksQFAAFCS07EBL7h/A2SxAIA
AcQAlpLEBwADAAMACgDEAJLEAwAHAcQAksQEAN+eAMQAksQDAAAAxACSxA0AAQIAAwEBAQEBAgICxACSxAUAAQEBAcQAmJLE
BQAeFAoUxACSxAUAAAAAAMQAksQRAAAAAQACAwAEAAAAAAAAAADEAJLEBQABCQkJxACSxA8ACQAKAAsMAA0JCQkJCQnEAJLE
DQAKFChAQUFBQkJCQkLEB6a8PDRXuAKSxAsAQEYAREFDREVFRsQIjddGEBaEjgWSxAIAYsQDTmE8lZLEBAABAQHEAJLECwAB
AAIDAQACAAECxACSxAIABMQAksQCAELEARSSxGoBIJQlAwCSxhQagDnpWsNphuhUmuIoEj5YN+wqsySLJkdkLwGLGgeLK5Ur
2yXJPd3u4ilgpXLDdjWKeWI7RMU8bTcyKCQBEjhHbIdFPTAnbPdqlIVJh4ZZy/laEQUASU0A4ADyJjDgGRgDxAA=
"""
LOOSE = """
YLY6flzXYzebgWjxKU7gEpKeAadCVENVU0RUlwzNA+nNBGDPAAABi8/laADPAAABi8/lbE7PF5ec/jdbLQDPF5ec/njt6nPA
AAAAFwgIzgCYloDOAA9CQNCbzgETCPKVlJLEDQBKJycnJycnJycnJyfEAqwAksQNAAkJCQkJCQkJCQkJCcQAksQNAIcAAAYA
AAYAAAYAAMQFZtnKnxeSxA0AVVxdVFxdUltdAFtdxBkBMgRiPFjfKtQ1A7Kir0KyoufS+kBiBxIDlZLEAMQAksQNAAEAAAAA
AAEAAAEAAMQAksQNAAAAAAAAAAEAAQACAMQAksQHAElCQklPTsQHx/nevWDvN5LEAgABxACWksQDAO4AxACSxAMABgDEAJLE
BADf9ALEAJLEAMQAksQOAAEBAQEBAQMAAgEBAQLEAJLEBAABAgLEAJiSxADEAJLEAMQAksQAxACSxAcACQkJCQkJxACSxA0A
CQkJCQkJCQAJCQEAxACSxADEAJLEEABGRUVEQ0FEQDI8HkAKRgDECVh0CAshNth4AZLEAgBixANOYTyVksQEAAgBAcQAksQL
AAABAgEAAgEAAgPEAJLEAgAHxACSxAIAQsQBFJLEagEglCUDAJLGFBqAOelaw2mG6FSa4igSPlg37CqzJIsmR2QvAYsaB4sr
lSvbJck93e7iKWClcsN2NYp5YjtExTxtNzIoJAESOEdsh0U9MCds92qUhUmHhlnL+VoRBQBJTQDgAPImMOAZGAPEAA==
"""
# Written by the second version.
SECOND = """
OsDLQLvfpFaVSLoiBKjZiJLcABECp0JUQ1VTRFSXDM0D6c0EYM8AAAGLz+VoAM8AAAGLz+VsTs8Xl5z+N1stAM8Xl5z+eO3q
c80D6M8AAAGLz+VoAAgIFwgIzgCYloDOAA9CQGXOARMI8qJtcwWSzwAAAAInV8yAwJWUksQNAAAAAAAAAAAAAAAAAMQAksQN
AAkJCQkJCQkJCQkJCcQAksQNAIcAAAUAAAUAAAUAAMQFNs/KnxeSxA0AXVsAXVtSXVxUXVxVxBkOJD6QOJfWsqKvQmRF75qB
VejB+gjECJABlZLEEQBJCgoKCgoKCkkKCgoKCgoKxAPHKwOSxA0AAQABAAAAAAAAAAAAxACSxA0AAAIAAQAAAAAAAAAAxACS
xAUAAUJLTsQEvuH8DZLEAgABxACWksQHAAMAAwAKAMQAksQDAAcBxACSxAQA354AxACSxAMAAADEAJLEDQABAgADAQEBAQEC
AgLEAJLEBQABAQEBxACYksQFAB4UChTEAJLEBQAAAAAAxACSxBEAAAABAAIDAAQAAAAAAAAAAMQAksQFAAEJCQnEAJLEDwAJ
AAoACwwADQkJCQkJCcQAksQNAAoUKEBBQUFCQkJCQsQHprw8NFe4ApLECwBARgBEQUNERUVGxAiN10YQFoSOBZLEAgBixANO
YTyVksQEAAEBAcQAksQLAAEAAgMBAAIAAQLEAJLEAgAExACSxAIAQsQBFJLEagEglCUDAJLGFBqAOelaw2mG6FSa4igSPlg3
7CqzJIsmR2QvAYsaB4srlSvbJck93e7iKWClcsN2NYp5YjtExTxtNzIoJAESOEdsh0U9MCds92qUhUmHhlnL+VoRBQBJTQDg
APImMOAZGAPEAA==
"""


def the_run() -> Run:
    snapshot = snapshot_payload(
        [(f"{99 - n}.50000000", f"0.{n + 1}0000000") for n in range(8)],
        [(f"{101 + n}.50000000", f"1.{n}1000000") for n in range(8)],
        1000,
    )
    here, there, away, size = "99.50000000", "99.60000000", "90.10000000", "0.77000000"
    changes = [
        ([(there, "0.10000000"), (here, "0.00000000")], [("101.50000000", size)]),
        (
            [(here, "0.10000000"), (there, "0.00000000")],
            [("300.20000000", "7.00000000"), ("300.40000000", "0.12345678")],
        ),
        ([(away, "3.10000000"), (there, "0.30000000")], [("101.50000000", size)]),
        ([(here, "0.50000000"), (here, "0.60000000")], [("888.80000000", "0.00000000")]),
        ([(away, "0.00000000")], [("101.50000000", "0.00000000")]),
        ([(away, "3.10000000")], [("101.50000000", "0.80000000")]),
    ]
    changes += [([(here, f"{n % 7 + 1}.00000000")], []) for n in range(6)]
    payloads = [
        spelt(1001 + 10 * n, 1010 + 10 * n, 1_700_000_000_000 + 100 * n + n % 3, bids, asks)
        for n, (bids, asks) in enumerate(changes)
    ]
    payloads[4] = payloads[4].replace(b",", b", ")
    events = [
        decode_diff(payload, (1_700_000_000_020 + 100 * n) * 1_000_000 + 12_345 * n)
        for n, payload in enumerate(payloads)
    ]
    return run_of(snapshot, events)


def test_a_stored_chunk_is_read() -> None:
    run = the_run()
    chunk = decode_chunk(unpack_chunk(base64.b64decode(CHUNK)))
    assert list(chunk.diffs()) == run.events
    assert chunk.start_book().last_update_id == 1000
    loose = decode_chunk(unpack_chunk(base64.b64decode(LOOSE)))
    assert list(loose.diffs()) == run.events[::-1]
    assert not loose.has_book


def test_what_is_written_now_is_what_was_written_then() -> None:
    run = the_run()
    # Compared unpacked, as another version of zstd may compress otherwise.
    for chunk, then in (
        (encode_chunk(run.start, run.events), CHUNK),
        (encode_loose(run.events[::-1]), LOOSE),
    ):
        # The second version has further fields in its header.
        header = msgspec.structs.replace(chunk.header, schema_version=1)
        assert ArchiveChunk(header, chunk.columns) == unpack_chunk(base64.b64decode(then))


def test_the_second_version_is_read_and_written_alike() -> None:
    run = the_run()
    start = replace(run.start, horizon=Horizon(9_250_000_000, None), received_ns=5)
    assert encode_chunk(start, run.events) == unpack_chunk(base64.b64decode(SECOND))
    chunk = decode_chunk(unpack_chunk(base64.b64decode(SECOND)))
    assert (chunk.header.unit, chunk.horizon) == ("ms", start.horizon)
    assert chunk.start_book().received_ns == 5
    assert chunk.final_book().received_ns == run.events[-1].received_ns
    assert chunk.final_book().horizon == start.horizon


def test_every_column_is_in_use() -> None:
    run = the_run()
    columns = encode_chunk(run.start, run.events).columns
    for group in columns.__struct_fields__:
        for name in getattr(columns, group).__struct_fields__:
            assert getattr(getattr(columns, group), name).tokens, f"{group}.{name}"
    assert unpack_chunk(pack_chunk(encode_loose(run.events)).data).header.start_id is None
