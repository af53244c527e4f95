from __future__ import annotations

import pytest
from msgspec.structs import replace
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.window.top_bar import GroupingBox, RecordButton, SourceSwitch
from tests.gui.fake_desk import PEPE, FakeDesk, frame_of


@pytest.fixture
def box(qtbot: QtBot, preferences: Preferences) -> GroupingBox:
    widget = GroupingBox(preferences)
    qtbot.addWidget(widget)
    return widget


def items(box: GroupingBox) -> list[str]:
    return [box.itemText(index) for index in range(box.count())]


def load(desk: FakeDesk, price: str = "57000.00") -> None:
    desk.source.load([(price, "1")], [])


def test_without_a_book_there_is_nothing_to_choose(box: GroupingBox, desk: FakeDesk) -> None:
    box.set_frame(frame_of(desk))
    assert (box.isEnabled(), box.step) == (False, 1)


def test_offers_steps_from_the_tick_up(box: GroupingBox, desk: FakeDesk) -> None:
    load(desk)
    box.set_frame(frame_of(desk))
    assert box.isEnabled()
    assert items(box)[:6] == ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"]
    assert items(box)[-1] == "500"
    assert box.step == 10**6


def test_finer_and_coarser_stop_at_the_ends(box: GroupingBox, desk: FakeDesk) -> None:
    steps: list[int] = []
    box.step_changed.connect(steps.append)
    load(desk)
    box.set_frame(frame_of(desk))
    box.finer()
    box.coarser()
    assert steps == [10**6, 2 * 10**6]
    for _ in range(50):
        box.coarser()
    assert box.currentText() == "500"


def test_the_choice_is_remembered_for_each_market(
    box: GroupingBox, preferences: Preferences, qtbot: QtBot
) -> None:
    btc, pepe = FakeDesk(), FakeDesk(PEPE.info)
    load(btc)
    load(pepe, "0.00000812")
    box.set_frame(frame_of(btc))
    box.coarser()
    box.coarser()
    box.set_frame(frame_of(pepe))
    assert items(box) == ["0.00000001", "0.00000002", "0.00000005"]
    assert box.step == 1
    box.set_frame(frame_of(btc))
    assert box.currentText() == "0.05"
    again = GroupingBox(preferences)
    qtbot.addWidget(again)
    again.set_frame(frame_of(btc))
    assert again.step == 5 * 10**6


def test_steps_follow_the_scale_of_the_book(box: GroupingBox) -> None:
    pepe = FakeDesk(PEPE.info)
    load(pepe, "0.00000812")
    box.set_frame(frame_of(pepe))
    box.coarser()
    pepe.source.apply([("0.0000081201", "1")], [])
    box.set_frame(frame_of(pepe))
    assert box.currentText() == "0.00000002"
    assert box.step == 200


def test_a_tick_size_told_later_changes_the_steps(box: GroupingBox, desk: FakeDesk) -> None:
    listed = desk.symbol
    desk.symbol = replace(listed, tick_size=0)
    desk.source.load([("57000.00", "1"), ("56990.00", "1")], [])
    box.set_frame(frame_of(desk))
    assert items(box)[0] == "10"
    box.coarser()
    assert box.currentText() == "20"
    desk.symbol = listed
    box.set_frame(frame_of(desk))
    assert items(box)[0] == "0.01"
    assert box.currentText() == "20"
    assert box.step == 20 * 10**8


def test_nothing_of_the_old_market_is_offered(box: GroupingBox, desk: FakeDesk) -> None:
    load(desk)
    box.set_frame(frame_of(desk))
    box.set_frame(frame_of(FakeDesk(PEPE.info)))
    assert (items(box), box.isEnabled(), box.step) == ([], False, 1)


def test_the_choice_survives_a_resync(box: GroupingBox, desk: FakeDesk) -> None:
    load(desk)
    box.set_frame(frame_of(desk))
    box.coarser()
    desk.source.book.clear()
    box.set_frame(frame_of(desk))
    load(desk)
    box.set_frame(frame_of(desk))
    assert box.currentText() == "0.02"


class TestRecordButton:
    @pytest.mark.parametrize("state", list(RecordingState))
    @pytest.mark.parametrize("problem", ["", "The database is away."])
    def test_it_says_on_only_while_something_is_recorded(
        self, qtbot: QtBot, state: RecordingState, problem: str
    ) -> None:
        button = RecordButton()
        qtbot.addWidget(button)
        button.set_recording(RecordingStatus("BTC/USDT", state, kept=False, problem=problem))
        is_recorded = state in (RecordingState.RECORDING, RecordingState.ELSEWHERE) and not problem
        assert (button.text() == "● Record: on") == is_recorded
        assert button.isChecked()
        if not is_recorded:
            assert button.text().startswith("▲ Record: ")
            assert (problem or state.value) in button.toolTip()

    def test_it_names_the_program_that_records(self, qtbot: QtBot) -> None:
        button = RecordButton()
        qtbot.addWidget(button)
        who = "another program on host-2 (process 7)"
        button.set_recording(
            RecordingStatus("BTC/USDT", RecordingState.ELSEWHERE, kept=False, recorded_by=who)
        )
        assert button.text() == "◇ Record: elsewhere"
        assert button.isChecked()
        assert button.toolTip().startswith(f"Recorded by {who}. ")
        # Beside a replay the word LIVE takes the room of the state where there is little.
        button.show_live(True)
        assert button.text() == "LIVE ◇ Record: elsewhere"
        button.show_compact(compact=False, tight=True)
        assert button.text() == "LIVE ◇ Record"
        assert button.accessibleName() == "LIVE Recording elsewhere"
        button.show_live(False)
        assert button.text() == "◇ Record: elsewhere"


class TestSourceSwitch:
    def test_the_source_in_use_is_down_and_a_difference_is_explained(self, qtbot: QtBot) -> None:
        switch = SourceSwitch()
        qtbot.addWidget(switch)
        recorded, direct = (switch.buttons[kind] for kind in SourceKind)
        switch.show_source(SourceKind.MONGO, SourceKind.MONGO, "")
        assert (recorded.isChecked(), recorded.text()) == (True, "Recorded")
        switch.show_source(SourceKind.MONGO, SourceKind.DIRECT, "The database is away.")
        assert direct.isChecked()
        assert not recorded.isChecked()
        assert recorded.text() == "▲ Recorded"
        assert (
            recorded.toolTip() == "Recorded is chosen, but direct is shown. The database is away."
        )
        assert recorded.accessibleName() == "Source: Recorded, chosen, but direct is shown"
        switch.show_source(SourceKind.DIRECT, SourceKind.DIRECT, "")
        assert (recorded.text(), direct.isChecked()) == ("Recorded", True)


class TestTheUsualStep:
    """A market of which no step was chosen has one that shows the book and not its dust."""

    def dusty(self, desk: FakeDesk) -> None:
        """A real order at each whole price, dust at all others."""
        bids, asks = (
            [
                (f"{price / 100:.2f}", "2" if price % 100 == 50 else "0.0001")
                for price in range(start, start + by * 900, by)
            ]
            for start, by in ((5_700_000, -1), (5_700_001, 1))
        )
        desk.source.load(bids, asks)

    def test_dust_is_grouped(self, box: GroupingBox, desk: FakeDesk) -> None:
        self.dusty(desk)
        box.set_frame(frame_of(desk))
        assert box.currentText() == "1"
        assert box.step == 10**8

    def test_it_is_no_choice_of_the_person(
        self, box: GroupingBox, desk: FakeDesk, preferences: Preferences
    ) -> None:
        self.dusty(desk)
        box.set_frame(frame_of(desk))
        assert preferences.grouping("BTCUSDT") == ""
        box.finer()
        assert preferences.grouping("BTCUSDT") == "0.5"

    def test_it_stays_while_the_market_is_on_screen(self, box: GroupingBox, desk: FakeDesk) -> None:
        self.dusty(desk)
        box.set_frame(frame_of(desk))
        desk.source.load([("57000.00", "1")], [("57000.01", "1")])
        box.set_frame(frame_of(desk))
        assert box.currentText() == "1"
        # The book needs a finer unit: the same step in other numbers.
        desk.source.apply([("56999.000000001", "1")], [])
        box.set_frame(frame_of(desk))
        assert (box.currentText(), box.step) == ("1", 10**9)

    def test_the_step_that_was_chosen_wins(
        self, box: GroupingBox, desk: FakeDesk, preferences: Preferences
    ) -> None:
        preferences.set_grouping("BTCUSDT", "0.02")
        self.dusty(desk)
        box.set_frame(frame_of(desk))
        assert box.currentText() == "0.02"
