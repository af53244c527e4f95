from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orderbook_desktop.storage.server.credentials import (
    keep_secret,
    key_path,
    password_path,
    read_secret,
)


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert read_secret(path) == ""
    secret = keep_secret(path)
    assert len(secret) == 64
    assert keep_secret(path) == read_secret(path) == secret
    assert keep_secret(tmp_path / "other") != secret


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"\xff" * 64, b"a/@" * 30])
def test_what_is_no_secret_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert read_secret(path) == ""
    assert keep_secret(path) == read_secret(path) != ""


@pytest.mark.skipif(sys.platform == "win32", reason="modes mean nothing there")
def test_one_that_others_can_read_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    keep_secret(path)
    path.chmod(0o644)
    keep_secret(path)
    assert path.stat().st_mode & 0o077 == 0


def test_secrets_lie_beside_the_servers_files(tmp_path: Path) -> None:
    assert password_path(tmp_path / "secantus") == tmp_path / "secantus.password"
    assert key_path(tmp_path / "mongod") == tmp_path / "mongod.key"
