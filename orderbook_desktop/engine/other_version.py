"""What becomes of a database folder that another version of SecantusDB wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orderbook_desktop.storage.errors import OtherVersion, folder_error
from orderbook_desktop.storage.server.server_versions import other_server
from orderbook_desktop.system.private_files import private_folder

_FOLDER: Final = "moving"


async def move_recordings(other: OtherVersion, tell: Callable[[str], None]) -> str:
    """Move the recordings of such a folder into files of the present version.

    It is a `Move` of `storage.server.server`: it calls `tell` with its progress, and returns what
    to tell about the result. Raises a `KnownError`; then the folder is as it was.
    """
    # Imported here because nearly no start needs it, and it knows most of the storage.
    from orderbook_desktop.engine.folder_move import FolderMove  # noqa: PLC0415

    home = other.folder.parent / _FOLDER
    try:
        private_folder(home)
    except OSError as error:
        raise folder_error(other.folder, error) from error
    tell("The recordings are in files of another version of the database; getting its server.")
    program = await other_server(other, home)
    return await FolderMove(other, home, program, tell).run()
