"""Which version of SecantusDB wrote a folder, and how the folder of another version is replaced.

SecantusDB does not promise that a later version reads its files. So the version that wrote a folder
stands in a file beside the folder, and a folder of a version that is not known to be readable is
not opened. Its recordings can be moved into a new folder, which then takes its place (`swap`). The
old folder stays beside it until its owner removes it.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from orderbook_desktop.core.version import __version__
from orderbook_desktop.storage.errors import DatabaseError, OtherVersion, folder_error
from orderbook_desktop.storage.server.choice import ServerKind, ServerProgram
from orderbook_desktop.system.atomic_file import atomic_file
from orderbook_desktop.system.bundle import is_frozen, resource_path

_log = logging.getLogger(__name__)

SECANTUS_VERSION: Final = "0.7.0b3"
# The versions whose folders it reads.
_READABLE: Final = frozenset({SECANTUS_VERSION})
# A folder without a file for its version is tried. These may have written it if it is refused.
_BEFORE: Final = "0.6.0b12"
_OTHER_CHILD: Final = "orderbook_desktop.storage.server.other_secantus"
_INSTALL_WITHIN_S: Final = 900.0


class OtherServerMissing(DatabaseError):
    """The server of `version`, which wrote the files in `folder`, is not to be had.

    `release` is the version of this program that wrote them, if it is known.
    """

    folder: Path
    version: str
    release: str
    reason: str

    def __str__(self) -> str:
        release = f"Orderbook Desktop {self.release}" if self.release else "the release that did"
        return (
            f"The database files in {self.folder} were written by SecantusDB {self.version}, which "
            f"is not to be had here ({self.reason}); start again with a network, or pack the "
            f"recordings with {release} (`pack`) and unpack them here."
        )


class WrittenBy(Struct, frozen=True):
    """What wrote a folder: the version of SecantusDB, and that of this program."""

    server: str
    program: str = ""


class _Swap(Struct, frozen=True):
    """A folder that is about to take another one's place, and where that one goes.

    What is named in `remove` is removed in the end.
    """

    taker: str
    kept: str
    remove: tuple[str, ...]


def written_by(folder: Path) -> WrittenBy | None:
    """Return what wrote the database folder `folder`, if that is known. Raises `DatabaseError`."""
    try:
        return msgspec.json.decode(_version_path(folder).read_bytes(), type=WrittenBy)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        _log.warning("%s can't be read: %s", _version_path(folder), error)
        return None
    except OSError as error:
        raise folder_error(folder, error) from error


def check_readable(folder: Path, log_path: Path) -> None:
    """Raise `OtherVersion` if a version wrote `folder` that this program's server may not read."""
    known = written_by(folder)
    if known is not None and known.server not in _READABLE and folder.is_dir():
        raise OtherVersion("SecantusDB", folder, log_path, known.server)


def note_version(folder: Path) -> None:
    """Note beside `folder` that this program's server writes it. Raises `OSError`."""
    now = WrittenBy(SECANTUS_VERSION, __version__)
    try:
        if written_by(folder) == now:
            return
    except DatabaseError as error:
        _log.warning("%s", error)
    with atomic_file(_version_path(folder), replace=True) as file:
        file.write(msgspec.json.encode(now))


def swap(folder: Path, taker: Path, kept: Path, remove: Collection[Path] = ()) -> None:
    """Put the folder `taker` in the place of `folder`, which becomes `kept`. Raises `OSError`.

    In the end the folders in `remove` are removed. A kill meanwhile leaves what `finish_swap`
    needs. All folders are beside `folder`, or below such a one.
    """
    home = folder.parent
    removed = tuple(str(path.relative_to(home)) for path in remove)
    names = _Swap(str(taker.relative_to(home)), str(kept.relative_to(home)), removed)
    with atomic_file(_swap_path(folder), replace=True) as file:
        file.write(msgspec.json.encode(names))
    finish_swap(folder)


def finish_swap(folder: Path) -> None:
    """Finish a `swap` of `folder` that has begun, if one has. Raises `OSError`."""
    try:
        names = msgspec.json.decode(_swap_path(folder).read_bytes(), type=_Swap)
    except FileNotFoundError:
        return
    taker, kept = folder.parent / names.taker, folder.parent / names.kept
    if taker.exists():
        if folder.exists():
            folder.rename(kept)
        taker.rename(folder)
    note_version(folder)
    for name in names.remove:
        shutil.rmtree(folder.parent / name, ignore_errors=True)
    _swap_path(folder).unlink()


async def other_server(other: OtherVersion, home: Path) -> ServerProgram:
    """Return the server that reads the folder of `other`; it is installed below `home`.

    Raises `OtherServerMissing`, and `OtherVersion` if no such server is known.
    """
    version = other.version or _BEFORE
    release = known.program if (known := written_by(other.folder)) is not None else ""
    if is_frozen():
        raise OtherServerMissing(other.folder, version, release, "a bundle has one server only")
    try:
        requirements = resource_path(f"old_servers/secantusdb-{version}.txt")
    except FileNotFoundError:
        raise other from None
    library = home / f"secantusdb-{version}"
    if not library.is_dir():
        reason = await _install(requirements, library)
        if reason:
            raise OtherServerMissing(other.folder, version, release, reason)
    command = (sys.executable, "-P", "-m", _OTHER_CHILD, str(library))
    return ServerProgram(ServerKind.SECANTUS, command, is_other=True)


async def _install(requirements: Path, library: Path) -> str:
    """Install what `requirements` pins into a new folder; return why that failed, or nothing."""
    draft = library.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--target", str(draft)]
    command = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options]
    pip = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", *command, "--requirement", str(requirements)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_INSTALL_WITHIN_S):
            _, said = await pip.communicate()
    except TimeoutError:
        return f"installing it took more than {_INSTALL_WITHIN_S:.0f} s"
    finally:
        if pip.returncode is None:
            pip.kill()
            await pip.wait()
    if pip.returncode != 0:
        _log.warning("%s can't be installed: %s", library.name, said.decode(errors="replace"))
        return "it could not be installed; the log says why"
    draft.rename(library)
    return ""


def _version_path(folder: Path) -> Path:
    return folder.with_suffix(".version")


def _swap_path(folder: Path) -> Path:
    return folder.with_suffix(".swap")
