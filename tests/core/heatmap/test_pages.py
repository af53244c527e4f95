"""What a person is told of the tiles."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.heatmap.pages import TileStatus


@pytest.mark.parametrize(
    ("status", "percent", "sentence"),
    [
        (TileStatus(), None, "It is not known yet which tiles are missing."),
        (TileStatus(problem="The database is away."), None, "The database is away."),
        (TileStatus(done=5, wanted=5), 100, "All tiles are built."),
        (TileStatus(is_on=False, done=5, wanted=5), 100, "All tiles are built."),
        (
            TileStatus(is_on=False, done=1_999, wanted=2_000),
            99,
            "1,999 of 2,000 stretches have tiles; no more are built.",
        ),
        (
            TileStatus(done=1, wanted=3, waits=True, market="BTCUSDT"),
            33,
            "1 of 3 stretches have tiles; recording and painting come first now.",
        ),
        (
            TileStatus(done=1, wanted=3, market="BTCUSDT"),
            33,
            "1 of 3 stretches have tiles; BTCUSDT is being built.",
        ),
        (
            TileStatus(done=1, wanted=3),
            33,
            "1 of 3 stretches have tiles; more are built in spare time.",
        ),
    ],
)
def test_the_state_of_the_tiles_is_one_sentence(
    status: TileStatus, percent: int | None, sentence: str
) -> None:
    assert (status.percent, status.sentence) == (percent, sentence)
