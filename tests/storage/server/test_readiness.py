from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, OperationFailure

from orderbook_desktop.storage.server.readiness import become_primary

GHOST: dict[str, Any] = {"isreplicaset": True, "isWritablePrimary": False}
PRIMARY: dict[str, Any] = {"isWritablePrimary": True}


class ScriptedAdmin:
    """Answers each command with the next of its answers, the last one for ever."""

    def __init__(self, **answers: list[dict[str, Any] | Exception]) -> None:
        self.asked: list[str] = []
        self._answers = answers

    async def command(self, command: str | dict[str, Any], /) -> Mapping[str, Any]:
        name = command if isinstance(command, str) else next(iter(command))
        self.asked.append(name)
        answers = self._answers[name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_primary_is_left_alone() -> None:
    admin = ScriptedAdmin(hello=[PRIMARY])
    await become_primary(admin.command, "127.0.0.1:1")
    assert admin.asked == ["hello"]


async def test_a_set_initiated_meanwhile_is_no_error() -> None:
    admin = ScriptedAdmin(
        hello=[GHOST, AutoReconnect("connection closed"), PRIMARY],
        replSetGetStatus=[OperationFailure("no config", 94)],
        replSetInitiate=[OperationFailure("already initialized", 23)],
    )
    await become_primary(admin.command, "127.0.0.1:1")
    assert admin.asked.count("replSetInitiate") == 1


async def test_a_set_that_cannot_be_initiated_is_an_error() -> None:
    admin = ScriptedAdmin(
        hello=[GHOST],
        replSetGetStatus=[OperationFailure("no config", 94)],
        replSetInitiate=[OperationFailure("no", 103)],
    )
    with pytest.raises(OperationFailure):
        await become_primary(admin.command, "127.0.0.1:1")


async def test_a_member_that_is_only_starting_is_waited_for() -> None:
    admin = ScriptedAdmin(
        hello=[GHOST, GHOST, GHOST, PRIMARY],
        replSetGetStatus=[OperationFailure("starting up", 11_600), {"myState": 5}],
    )
    await become_primary(admin.command, "127.0.0.1:1")
    assert admin.asked.count("replSetGetStatus") == 2


async def test_a_member_that_asks_who_one_is_is_not_waited_for() -> None:
    admin = ScriptedAdmin(hello=[GHOST], replSetGetStatus=[OperationFailure("who are you", 13)])
    with pytest.raises(OperationFailure):
        await become_primary(admin.command, "127.0.0.1:1")
