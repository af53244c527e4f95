"""The password of a database server of ours: made once, kept beside the server's files.

Every user of a computer can reach its ports on 127.0.0.1, so the server lets nobody in
without it. It goes from here into the server over its socket: never onto a command line, into
the environment, or into a log.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Final

from orderbook_desktop.system.private_files import private_file, write_private

# The one user of such a server, in its database `admin`.
USER: Final = "orderbook"

# Digits that need no escaping anywhere: in a DSN, or in a mongod's key.
_SECRET: Final = re.compile(r"[0-9a-f]{64}")


def password_path(folder: Path) -> Path:
    """Return the file with the password of the server whose files are in `folder`."""
    return folder.with_suffix(".password")


def key_path(folder: Path) -> Path:
    """Return the file with the key that a mongod's replica set asks of its members."""
    return folder.with_suffix(".key")


def read_secret(path: Path) -> str:
    """Return what is kept in `path`; empty where there is no secret. Raises `OSError`."""
    try:
        text = path.read_text("ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""
    return text if _SECRET.fullmatch(text) else ""


def keep_secret(path: Path) -> str:
    """Return what is kept in `path`, made up now where that is nothing. Raises `OSError`."""
    secret = read_secret(path)
    if not secret:
        return new_secret(path)
    private_file(path)
    return secret


def new_secret(path: Path) -> str:
    """Return a secret that nobody has seen yet, and keep it in `path`. Raises `OSError`."""
    secret = secrets.token_hex(32)
    write_private(path, secret + "\n")
    return secret
