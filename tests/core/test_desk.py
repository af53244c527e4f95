"""How bad a recording is doing: one order for the window and the recorder on a terminal."""

from __future__ import annotations

from orderbook_desktop.core.recording_status import RecordingState


def test_the_order_of_badness() -> None:
    assert sorted(RecordingState, key=lambda state: state.rank) == [
        RecordingState.FAILED,
        RecordingState.PAUSED,
        RecordingState.DELAYED,
        RecordingState.RECONNECTING,
        RecordingState.WAITING,
        RecordingState.ELSEWHERE,
        RecordingState.RECORDING,
        RecordingState.STOPPED,
    ]
