"""The window's actions: each is declared once, with its text, its keys and its help.

The menus, the list of keys (F1) and the README's table of keys derive from these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from PySide6.QtCore import QKeyCombination, Qt
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence


class Action(Struct, frozen=True):
    """A thing that a person can do in the window.

    `text` is the menu's text: `&` precedes the letter to underline, `…` means that a list or a
    dialog opens. `help` says what the action does; the README shows it. `keys` are Qt's portable
    names of the key sequences that trigger the action. `gestures` are the names of mouse gestures
    that do the same. `role` tells macOS the action's place in the program's own menu. The keys of
    an action with `everywhere` also work in the program's other windows.
    """

    text: str
    help: str
    keys: tuple[str, ...] = ()
    gestures: tuple[str, ...] = ()
    role: QAction.MenuRole = QAction.MenuRole.TextHeuristicRole
    everywhere: bool = False

    @property
    def title(self) -> str:
        """The text without `&` and `…`."""
        return self.text.replace("&", "").rstrip("…")

    @property
    def sequences(self) -> list[QKeySequence]:
        """The keys as Qt's key sequences."""
        return [QKeySequence(keys) for keys in self.keys]

    @property
    def key_names(self) -> list[str]:
        """The keys, named as this system names them."""
        native = QKeySequence.SequenceFormat.NativeText
        return [keys.toString(native) for keys in self.sequences]

    @property
    def keys_text(self) -> str:
        """The names of the keys, and the gestures."""
        return ", ".join([*self.key_names, *self.gestures])


class Command(Struct, frozen=True):
    """An action, and the callable that performs it."""

    action: Action
    run: Callable[[], None]


class Switch(Struct, frozen=True):
    """An action that is on or off. `turn` receives the new state; `is_on` is the first state."""

    action: Action
    turn: Callable[[bool], None]
    is_on: bool = False


class Choice(Struct, frozen=True):
    """An action of a group in which one action is on. `is_on` is the first state."""

    action: Action
    run: Callable[[], None]
    is_on: bool = False


class FocusKeys:
    """The keys that a widget handles while it has the focus.

    `bound` maps each action to one callable for all its keys, or to one callable per key.
    """

    def __init__(self, bound: Mapping[Action, Sequence[Callable[[], None]]]) -> None:
        self.actions: Final = tuple(bound)
        self._by_keys: dict[str, Callable[[], None]] = {}
        for action, runs in bound.items():
            each = runs if len(runs) > 1 else [*runs] * len(action.keys)
            for sequence, run in zip(action.sequences, each, strict=True):
                self._by_keys[sequence.toString()] = run

    def handle(self, event: QKeyEvent) -> bool:
        """Call the callable of the pressed keys; return whether there is one.

        Where the exact combination is not bound, it counts without Alt: in a replay the plain keys
        are the replay's. Then the key without its modifiers counts: a `+` needs Shift on some
        keyboards.
        """
        pressed = event.keyCombination()
        modifiers = pressed.keyboardModifiers() & ~Qt.KeyboardModifier.KeypadModifier
        exact = QKeyCombination(modifiers, pressed.key())
        plain = QKeyCombination(modifiers & ~Qt.KeyboardModifier.AltModifier, pressed.key())
        for keys in (exact, plain, QKeyCombination(pressed.key())):
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
