"""What a person can do: each action is declared once, with its text, its keys and its help.

The menus, the list of keys (F1) and the README's table of keys are made of these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QKeyCombination, Qt
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a person can do in the window.

    `text` is what the menu says: `&` precedes the letter to underline, `…` means that a question
    follows. `help` says what happens, in the words of the README. `keys` are Qt's portable names
    of the key sequences that do it; `gestures` name what else does. `role` is the place that
    macOS gives it in the menu of the program.
    """

    text: str
    help: str
    keys: tuple[str, ...] = ()
    gestures: tuple[str, ...] = ()
    role: QAction.MenuRole = QAction.MenuRole.TextHeuristicRole

    @property
    def title(self) -> str:
        """The text as a sentence has it."""
        return self.text.replace("&", "").rstrip("…")

    @property
    def sequences(self) -> list[QKeySequence]:
        """The keys as Qt has them."""
        return [QKeySequence(keys) for keys in self.keys]

    @property
    def keys_text(self) -> str:
        """All that does it, with the keys as this system calls them."""
        native = QKeySequence.SequenceFormat.NativeText
        return ", ".join([*(keys.toString(native) for keys in self.sequences), *self.gestures])


@dataclass(frozen=True, slots=True)
class Command:
    """An action, and what does it."""

    action: Action
    run: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Switch:
    """An action that is on or off; `turn` is told which. `is_on` is how it begins."""

    action: Action
    turn: Callable[[bool], None]
    is_on: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """An action of a group of which one at a time is on. `is_on` is how it begins."""

    action: Action
    run: Callable[[], None]
    is_on: bool = False


class FocusKeys:
    """The keys that a widget takes while it has the focus.

    `bound` has by action what its keys do: one callable for all of them, or one for each.
    """

    def __init__(self, bound: Mapping[Action, Sequence[Callable[[], None]]]) -> None:
        self.actions: Final = tuple(bound)
        self._by_keys: dict[str, Callable[[], None]] = {}
        for action, runs in bound.items():
            each = runs if len(runs) > 1 else [*runs] * len(action.keys)
            for sequence, run in zip(action.sequences, each, strict=True):
                self._by_keys[sequence.toString()] = run

    def handle(self, event: QKeyEvent) -> bool:
        """Do what the pressed keys are for; return whether they are for anything.

        Modifiers that make no difference are ignored: a `+` needs Shift on some keyboards.
        """
        pressed = event.keyCombination()
        modifiers = pressed.keyboardModifiers() & ~Qt.KeyboardModifier.KeypadModifier
        exact = QKeyCombination(modifiers, pressed.key())
        for keys in (exact, QKeyCombination(pressed.key())):
            run = self._by_keys.get(QKeySequence(keys).toString())
            if run is not None:
                run()
                return True
        return False


def key_table(actions: Iterable[Action]) -> str:
    """Return the README's table of keys, in Markdown."""
    rows = ["| key | does |", "|---|---|"]
    for action in actions:
        keys = ", ".join([*(f"`{keys}`" for keys in action.keys), *action.gestures])
        rows.append(f"| {keys} | {action.help} |")
    return "\n".join(rows)
