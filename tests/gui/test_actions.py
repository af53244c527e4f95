from __future__ import annotations

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent

from orderbook_desktop.gui.actions import Action, FocusKeys, key_table

_MOVE = Action("Move", "move to a side", ("Left", "Right", "Shift+Right"))
_STOP = Action("&Stop it…", "stop", ("Space", "Esc"), ("double click",))

NONE = Qt.KeyboardModifier.NoModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier
KEYPAD = Qt.KeyboardModifier.KeypadModifier


def test_a_title_is_the_text_without_the_marks_of_a_menu() -> None:
    assert (_MOVE.title, _STOP.title) == ("Move", "Stop it")


@pytest.mark.parametrize(
    ("key", "modifiers", "done"),
    [
        (Qt.Key.Key_Left, NONE, "left"),
        (Qt.Key.Key_Right, NONE, "right"),
        (Qt.Key.Key_Right, SHIFT, "far"),
        # Modifiers that make no difference are ignored.
        (Qt.Key.Key_Left, SHIFT, "left"),
        (Qt.Key.Key_Right, SHIFT | KEYPAD, "far"),
        (Qt.Key.Key_Escape, CONTROL, "stop"),
        (Qt.Key.Key_Space, NONE, "stop"),
        (Qt.Key.Key_Home, NONE, None),
        (Qt.Key.Key_C, CONTROL, None),
    ],
)
def test_keys_do_what_they_are_bound_to(
    key: Qt.Key, modifiers: Qt.KeyboardModifier, done: str | None
) -> None:
    heard: list[str] = []
    keys = FocusKeys(
        {
            _MOVE: tuple(
                lambda word=word: heard.append(word)  # type: ignore[misc] # a default is typed late
                for word in ("left", "right", "far")
            ),
            _STOP: (lambda: heard.append("stop"),),
        }
    )
    event = QKeyEvent(QEvent.Type.KeyPress, key, modifiers)
    assert keys.handle(event) is (done is not None)
    assert heard == ([done] if done else [])
    assert keys.actions == (_MOVE, _STOP)


def test_each_key_needs_something_to_do() -> None:
    with pytest.raises(ValueError, match="zip"):
        FocusKeys({_MOVE: (lambda: None, lambda: None)})


def test_the_table_has_keys_and_gestures() -> None:
    assert key_table([_MOVE, _STOP]).splitlines()[2:] == [
        "| `Left`, `Right`, `Shift+Right` | move to a side |",
        "| `Space`, `Esc`, double click | stop |",
    ]
