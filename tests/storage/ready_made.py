"""A new database of a test is a copy of one that was made for all: making one takes half a second.

A test of the making itself has the mark `makes_database` (`recording_fixtures`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from orderbook_desktop.storage.server import local_server
from orderbook_desktop.storage.server.choice import ServerKind, choose_program
from orderbook_desktop.storage.server.credentials import keep_secret, password_path
from orderbook_desktop.system.private_files import private_folder

# Names the folder in which the database is kept; all processes of the test run share it.
DATABASE_VARIABLE: Final = "READY_MADE_DATABASE"
_NAME: Final = ServerKind.SECANTUS.value


@contextmanager
def shared_database() -> Iterator[None]:
    """Keep the database for this process and those that it starts, unless it got one itself."""
    if DATABASE_VARIABLE in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="ready-made-") as folder:
        os.environ[DATABASE_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[DATABASE_VARIABLE]


def copy_new_databases() -> None:
    """Copy new databases from now on, in this process, as long as there is one to copy."""
    vars(local_server)["keep_secret"] = keep_secret_and_database


def keep_secret_and_database(path: Path) -> str:
    """Return the secret in `path`; where it is a new database's password, bring the database.

    A kill meanwhile leaves no part of a database, as while one is made.
    """
    folder = path.with_suffix("")
    is_new = path.name == f"{_NAME}.password" and not path.exists() and _is_empty(folder)
    if is_new and DATABASE_VARIABLE in os.environ:
        made, draft = ready_made_database(), folder.with_suffix(".copy")
        # A kill may have left a part of it.
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(made / _NAME, draft)
        shutil.copy(password_path(made / _NAME), path)
        draft.rename(folder)
    return keep_secret(path)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def ready_made_database() -> Path:
    """Return the folder with the database; the first process that needs it makes it."""
    made = Path(os.environ[DATABASE_VARIABLE]) / "made"
    if not made.exists():
        draft = Path(tempfile.mkdtemp(dir=made.parent))
        folder = draft / _NAME
        private_folder(folder)
        keep_secret(password_path(folder))
        (draft / "secantus.toml").touch()
        subprocess.run(choose_program().making(folder, password_path(folder)), check=True)
        # Another process may have been quicker.
        with suppress(OSError):
            draft.rename(made)
    return made
