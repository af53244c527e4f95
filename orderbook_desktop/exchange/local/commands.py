"""Commands on a websocket: SUBSCRIBE and its siblings, answered as Binance answers them.

Source: Binance Spot API, "Live Subscribing/Unsubscribing to streams" and "Error Messages".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

STREAMS_AT_MOST: Final = 1024
_METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


@dataclass(eq=False)
class CommandError(Exception):
    """A command that is refused, with Binance's error code."""

    code: int
    message: str


@dataclass(slots=True)
class Subscriptions:
    """The streams of one connection, in the order of asking, and how their events are framed.

    `combined` frames name the stream; raw ones are the bare payload.
    """

    combined: bool
    streams: dict[str, None] = field(default_factory=dict)

    def add(self, names: list[str]) -> None:
        """Subscribe to `names`; raise `CommandError` where that would be too many."""
        if len(self.streams.keys() | set(names)) > STREAMS_AT_MOST:
            raise CommandError(2, f"Invalid request: more than {STREAMS_AT_MOST} streams")
        self.streams.update(dict.fromkeys(names))

    def answer(self, message: str | bytes) -> bytes:
        """Carry out one command; return the answer to send."""
        command_id: object = None
        try:
            command = _parse(message)
            command_id = _checked_id(command)
            result = self._carry_out(command)
        except CommandError as error:
            return msgspec.json.encode({"code": error.code, "msg": error.message, "id": command_id})
        return msgspec.json.encode({"result": result, "id": command_id})

    def _carry_out(self, command: dict[str, Any]) -> object:
        method = command.get("method")
        if "method" not in command:
            raise CommandError(2, "Invalid request: missing field `method`")
        actions: dict[object, Callable[[Any], object]] = {
            "SUBSCRIBE": lambda params: self.add(_names(params)),
            "UNSUBSCRIBE": self._remove,
            "LIST_SUBSCRIPTIONS": lambda _params: list(self.streams),
            "SET_PROPERTY": self._set_property,
            "GET_PROPERTY": self._get_property,
        }
        action = actions.get(method) if isinstance(method, str) else None
        if action is None:
            expected = ", ".join(f"`{name}`" for name in _METHODS)
            raise CommandError(
                2, f"Invalid request: unknown variant `{method}`, expected one of {expected}"
            )
        return action(command.get("params"))

    def _remove(self, params: Any) -> None:
        for name in _names(params):
            self.streams.pop(name, None)

    def _set_property(self, params: Any) -> None:
        _check_property(params, 2)
        if not isinstance(params[1], bool):
            raise CommandError(1, "Invalid value type: expected Boolean")
        self.combined = params[1]

    def _get_property(self, params: Any) -> bool:
        _check_property(params, 1)
        return self.combined


def _parse(message: str | bytes) -> dict[str, Any]:
    try:
        command = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CommandError(3, f"Invalid JSON: {error}") from error
    if not isinstance(command, dict):
        raise CommandError(2, "Invalid request: expected an object")
    return command


def _checked_id(command: dict[str, Any]) -> object:
    command_id = command.get("id")
    is_number = isinstance(command_id, int) and not isinstance(command_id, bool)
    is_text = isinstance(command_id, str) and len(command_id) <= 36
    if command_id is None or is_number or is_text:
        return command_id
    raise CommandError(2, "Invalid request: request ID must be an unsigned integer")


def _names(params: Any) -> list[str]:
    if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
        raise CommandError(2, "Invalid request: params must be an array of strings")
    return params


def _check_property(params: Any, count: int) -> None:
    if not isinstance(params, list) or not params or not isinstance(params[0], str):
        raise CommandError(2, "Invalid request: property name must be a string")
    if params[0] != "combined":
        raise CommandError(0, "Unknown property")
    if len(params) > count:
        raise CommandError(2, "Invalid request: too many parameters")
    if len(params) < count:
        raise CommandError(1, "Invalid value type: expected Boolean")
