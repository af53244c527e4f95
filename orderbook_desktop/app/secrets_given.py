"""Secrets among the settings: how they may be given, and the errors of other ways.

KnownError
└── BadSecret
    ├── SecretOnCommandLine   all users of the computer can read the command line
    ├── SecretGivenTwice      the secret is given as a value and by a file
    └── SecretFileUnusable    the file holds no secret, or can't be read
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from orderbook_desktop.core.errors import KnownError

_LONGEST: Final = 64 * 1024


class BadSecret(KnownError):
    """A secret was given in a way that isn't accepted. The exit code is that of wrong usage."""


class SecretOnCommandLine(BadSecret):
    """A secret was given by `option`; it belongs in `variable` or in the file of `file_option`."""

    option: str
    variable: str
    file_option: str

    def __str__(self) -> str:
        return (
            f"{self.option} would show its secret to all users of this computer, who can read "
            f"command lines; set {self.variable} instead, or name its file with "
            f"{self.file_option}."
        )


class SecretGivenTwice(BadSecret):
    """A secret was given as a value and by a file; `value` and `file` name the two settings."""

    value: str
    file: str

    def __str__(self) -> str:
        return f"{self.value} and {self.file} are both given; give only one of them."


class SecretFileUnusable(BadSecret):
    """The file `path` that `setting` names can't be used as a secret; `reason` says why."""

    setting: str
    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.setting} names {self.path}, which {self.reason}."


def read_secret(setting: str, path: Path) -> str:
    """Return the single line of `path`, the file of `setting`; raises `SecretFileUnusable`."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SecretFileUnusable(setting, path, f"cannot be read ({reason})") from error
    text = content.decode("utf-8", "replace").removeprefix("\ufeff").rstrip("\r\n")
    if not text.strip():
        raise SecretFileUnusable(setting, path, "is empty")
    if len(content) > _LONGEST or not text.isprintable() or "\ufffd" in text:
        raise SecretFileUnusable(setting, path, "is not one line of text")
    return text


def others_can_read(path: Path) -> bool:
    """Whether `path` is a file of this user that other users of this computer can read."""
    if os.name == "nt":  # Windows has access lists in place of a mode.
        return False
    try:
        about = path.stat()
    except OSError:  # A shell's pipe, for example, is gone once it was read.
        return False
    # A container engine mounts secrets as another user's files; no other user is in there.
    return about.st_uid == os.geteuid() and about.st_mode & 0o077 != 0 and path.is_file()
