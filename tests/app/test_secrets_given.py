"""Secrets in files: they are used, or refused in one sentence, and never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orderbook_desktop.app.secrets_given import BadSecret, others_can_read
from orderbook_desktop.app.settings import BadSetting, Settings, load_settings

_DSN = "mongodb://me:s3cret@host/"
_TOKEN = "a-token-for-the-tests-alone"


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_a_secret_is_taken_from_its_file(tmp_path: Path, end: str) -> None:
    dsn, token = tmp_path / "dsn", tmp_path / "token"
    dsn.write_bytes((_DSN + end).encode())
    token.write_bytes(b"\xef\xbb\xbf" + (_TOKEN + end).encode())
    settings = load_settings(mongo_dsn_file=str(dsn), web_token_file=str(token))
    assert (settings.mongo_dsn, settings.web_token) == (_DSN, _TOKEN)
    assert settings.given("mongo_dsn")
    assert _TOKEN not in repr(settings)


def test_the_command_line_beats_the_environment_for_a_secret_and_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = tmp_path / "dsn"
    held.write_text(_DSN)
    monkeypatch.setenv("MONGO_DSN", "mongodb://other/")
    assert load_settings(mongo_dsn_file=str(held)).mongo_dsn == _DSN
    monkeypatch.delenv("MONGO_DSN")
    monkeypatch.setenv("MONGO_DSN_FILE", str(held))
    assert load_settings().mongo_dsn == _DSN
    assert load_settings(mongo_dsn="mongodb://mine/").mongo_dsn == "mongodb://mine/"


def test_a_secret_that_is_given_twice_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = tmp_path / "token"
    held.write_text(_TOKEN)
    with pytest.raises(BadSecret, match=r"^--mongo-dsn and --mongo-dsn-file are both given"):
        load_settings(mongo_dsn="mongodb://mine/", mongo_dsn_file=str(held))
    monkeypatch.setenv("ORDERBOOK_WEB_TOKEN", _TOKEN)
    monkeypatch.setenv("ORDERBOOK_WEB_TOKEN_FILE", str(held))
    with pytest.raises(BadSecret, match=r"^ORDERBOOK_WEB_TOKEN and ORDERBOOK_WEB_TOKEN_FILE are"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"one\ntwo\n", "is not one line of text"),
        (b"a\x00b" * 10, "is not one line of text"),
        (b"\xff\xfea\x00", "is not one line of text"),
        (b"a" * 1_000_000, "is not one line of text"),
    ],
)
@pytest.mark.parametrize("name", ["web_token_file", "mongo_dsn_file"])
def test_a_file_without_a_secret_is_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    held = tmp_path / "secret"
    if content is not None:
        held.write_bytes(content)
    with pytest.raises(BadSecret) as caught:
        load_settings(**{name: str(held)})
    assert str(caught.value) == f"{Settings.option(name)} names {held}, which {reason}."


def test_a_folder_is_no_file_with_a_secret(tmp_path: Path) -> None:
    with pytest.raises(BadSecret, match="which cannot be read"):
        load_settings(web_token_file=str(tmp_path))


def test_the_content_of_a_file_is_checked_and_not_shown(tmp_path: Path) -> None:
    held = tmp_path / "secret"
    held.write_text("me:s3cret@host")
    for name in ("web_token_file", "mongo_dsn_file"):
        with pytest.raises(BadSetting, match=rf"^The content of {held} is '.*', but") as caught:
            load_settings(**{name: str(held)})
        assert "s3cret" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="access is no matter of a mode there")
def test_a_file_that_others_can_read_gives_a_warning(tmp_path: Path) -> None:
    held = tmp_path / "secret"
    held.write_text(_TOKEN)
    held.chmod(0o640)
    assert others_can_read(held)
    held.chmod(0o600)
    assert not others_can_read(held)
