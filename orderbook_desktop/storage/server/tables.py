"""Makes every file of a SecantusDB before anything is recorded in it.

It keeps the documents of all collections in sixteen tables, each of which it makes when the
first collection comes that belongs there. A kill in that very millisecond leaves a table that
is half made, and then nothing in the whole database can be read any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClient

_SETUP: Final = "setup"
# The table is chosen by the low bits of a hash (FNV-1a) of database and collection. They are a
# bijection of the last letter's low bits, so sixteen letters in a row belong to all of them.
_COLLECTIONS: Final = "abcdefghijklmnop"


async def make_tables(client: AsyncIOMotorClient[dict[str, Any]]) -> None:
    """Have every table made; to be done where a kill does no harm.

    Raises the driver's `PyMongoError`.
    """
    for name in _COLLECTIONS:
        await client[_SETUP].command({"create": name})
    await client.drop_database(_SETUP)
