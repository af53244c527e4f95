"""The archive's codec: a minute of one market as a start book and columns of its events.

A worked example
================
The book of BTCUSDT at update id 1000 has two bids, 100.00 (quantity 2) and 99.99 (1), and two asks,
100.01 (3) and 100.02 (1). Its time is t, 1,700,000,000,000 ms. Ten events follow. The first two
columns are the first and the final update id; `time` is in ms after t, and `received` in ms after
the event. A quantity of 0 removes the level.

    event  first  final  time  received  bids              asks
    0      1001   1002    100  3         100.00=5
    1      1003   1003    200  3                           100.01=0 100.03=3
    2      1004   1006    300  4         99.98=4
    3      1007   1007    400  3         100.00=2
    4      1008   1008    500  3                           100.03=0 100.04=3
    5      1009   1010    600  9         99.99=0           100.01=7
    6      1011   1011    700  3         99.98=0 99.97=4
    7      1012   1012    801  3                           100.01=300
    8      1013   1013    900  3         99.99=1
    9      1014   1015   1000  3         100.00=5          100.02=0

`encode_chunk` finds that all prices are multiples of 0.01, and all quantities of 1. The header says
so. The prices become keys: an ask's is its number of steps, a bid's the complement of it. So 100.00
is -10001 as a bid, 100.01 is 10001 as an ask, and the keys of each side ascend from the best one.

Each column below has its numbers, then its bytes. A number below 64 is one byte, its token. A
larger number has a token for its magnitude; its lower bits follow behind `+`. In the columns marked
with `s`, numbers of either sign are folded first: 0, -1, 1, -2, 2 become 0, 1, 2, 3, 4.

Events: `id_steps` is how far the first id lies beside the expected one, `id_spans` how many ids the
event has besides that. `event_ms` is the time since the event before, less the usual 100 ms;
`received` is the way to us in ns, less the least one (3 ms).

    id_steps s        0 0 0 0 0 0 0 0 0 0                00 00 00 00 00 00 00 00 00 00
    id_spans          1 0 2 0 0 1 0 0 0 1                01 00 02 00 00 01 00 00 00 01
    event_ms s        1700000000000 0 0 0 0 0 0 1 -1 0   87 00 00 00 00 00 00 02 01 00 + 00d0ca9f17
    received_ns       0 0 1000000 0 0 6000000 0 0 0 0    00 00 5b 00 00 60 00 00 00 00 + 404203366e

Keys: the first one of the start book, folded, then the difference to each next one. Then how many
keys each event adds, by side. The first key that an event adds to a side is stored as its
difference from the one before, at first from the best key of that side.

    start             20001 1 20001 1                    50 01 50 01 + 212ec401
    new_bids          0 0 1 0 0 0 1 0 0 0                00 00 01 00 00 00 01 00 00 00
    new_asks          0 1 0 0 1 0 0 0 0 0                00 01 00 00 01 00 00 00 00 00
    new_firsts s      2 1 2 1                            04 02 04 02

Lanes: one per key, with its changes. The start book's four lanes change 3, 2, 3 and 1 times, the
four new ones 1, 0, 1 and 0 times after their first change. Four such counts share a byte; of 3 and
more `more_changes` has the rest. `toggles` has a bit for each change, lanes with few entries first:
1 where the level comes or goes. The gaps are numbers of events: before the first change of a level
of the start book, then from change to change, while the level is there and while it is gone.

    few_changes                                          7b 11
    more_changes      0 0                                00 00
    toggles                                              ff 8c
    gaps_from_start   0 5 1 9                            00 05 01 09
    gaps_while_there  3 6 4 2 3                          03 06 04 02 03
    gaps_while_gone   3 4                                03 04

Quantities: 1, 2 and 5 occur twice without being explained by the book, so they are common. They are
stored as differences, and their counts less two. In the start book 2 and 1 are the second and the
first common quantity, and 3 is a literal (0). At a new price, event 1 takes the quantity that went
right before (2: the order moved from 100.01 to 100.03), event 2 brings a literal (9), and events 4
and 6 are moves again. At known prices, 12 and 11 are the third and the second common quantity, 9 is
a literal, and 0 in event 8 is the quantity that this price had before it went.

    common            1 1 3                              01 01 03
    common_counts     0 0 0                              00 00 00
    start_sources     2 1 0 1                            02 01 00 01
    new_sources       2 9 2 2                            02 09 02 02
    sources           12 11 9 9 0 12                     0c 0b 09 09 00 0c
    start_literals    3                                  03
    literals          4 7 300                            04 07 44 + 2c

All other columns are empty, as every event is spelt as the exchange spells it. As MessagePack,
header included, the chunk has 365 bytes; the texts of the ten events have 1265. `storage`
compresses the tokens of each column besides.
"""

from orderbook_desktop.core.archive.chunk import ArchiveChunk, ChunkHeader
from orderbook_desktop.core.archive.decoded import ChunkSlice, DecodedChunk, chunk_of, decode_chunk
from orderbook_desktop.core.archive.encode import encode_chunk, encode_loose, fitting_count
from orderbook_desktop.core.archive.minutes import (
    MINUTE_MS,
    closed_span,
    encode_minutes,
    minute_of,
)
from orderbook_desktop.core.archive.verify import (
    ChunkFault,
    agree,
    best_offers,
    chunk_faults,
    reproduces,
    same_book,
    verify_chunk,
)
from orderbook_desktop.core.errors import DamagedChunk

__all__ = [
    "MINUTE_MS",
    "ArchiveChunk",
    "ChunkFault",
    "ChunkHeader",
    "ChunkSlice",
    "DamagedChunk",
    "DecodedChunk",
    "agree",
    "best_offers",
    "chunk_faults",
    "chunk_of",
    "closed_span",
    "decode_chunk",
    "encode_chunk",
    "encode_loose",
    "encode_minutes",
    "fitting_count",
    "minute_of",
    "reproduces",
    "same_book",
    "verify_chunk",
]
