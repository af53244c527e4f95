from __future__ import annotations

from orderbook_desktop.core.segments import GapCause


def test_every_cause_can_be_told_and_stored() -> None:
    sentences = {cause.sentence for cause in GapCause}
    assert len(sentences) == len(GapCause)
    assert all(GapCause(cause.value) is cause for cause in GapCause)
