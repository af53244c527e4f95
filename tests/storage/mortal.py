"""A database whose user is killed at a call of the test's choice."""

from __future__ import annotations

from typing import Any

from orderbook_desktop.storage.store.database import Database


class Killed(BaseException):
    """The process was killed."""


class Mortal(Database):
    """A database whose user dies before its call number `lives`, or just after it."""

    def __init__(self, alive: Database, lives: int, *, after: bool) -> None:
        super().__init__(alive.name)
        self._alive = alive
        self.lives = lives
        self.after = after

    def collection(self, name: str) -> Any:
        return MortalCollection(self._alive.collection(name), self)

    def die_before(self) -> None:
        self.lives -= 1
        if self.lives < 0 and not self.after:
            raise Killed

    def die_after(self) -> None:
        if self.lives < 0 and self.after:
            raise Killed


class MortalCollection:
    def __init__(self, collection: Any, mortal: Mortal) -> None:
        self._collection = collection
        self._mortal = mortal

    def find(self, *arguments: Any, **options: Any) -> Any:
        return self._collection.find(*arguments, **options)

    def aggregate(self, *arguments: Any) -> Any:
        return self._collection.aggregate(*arguments)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._collection, name)

        async def run(*arguments: Any, **options: Any) -> Any:
            if name == "bulk_write":
                # In order, and the process may end between any two. The last result stands for all.
                result = None
                for operation in arguments[0]:
                    self._mortal.die_before()
                    result = await call([operation], **options)
                    self._mortal.die_after()
                return result
            self._mortal.die_before()
            result = await call(*arguments, **options)
            self._mortal.die_after()
            return result

        return run
