"""The users of a stand-in server: made, and asked for their password by SCRAM-SHA-256."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from pathlib import Path

from tests.storage.fake_mongo import Document, error

MECHANISMS = ["SCRAM-SHA-256"]

_ROUNDS = 4096
_SALT = b"salt of the fakes"
_REFUSAL = error(18, "Authentication failed.")


class FakeUsers:
    """The users of database `admin`, kept in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "users.json"
        self._talks: dict[int, _Talk] = {}

    def create(self, command: Document) -> Document:
        """Answer `createUser`."""
        if command["createUser"] in self._passwords():
            return error(51_003, "already exists")
        return self._store(command["createUser"], command["pwd"])

    def update(self, command: Document) -> Document:
        """Answer `updateUser`."""
        return self._store(command["updateUser"], command["pwd"])

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return bool(self._passwords())

    def start(self, command: Document) -> Document:
        """Answer `saslStart`."""
        asked = command["payload"].decode().removeprefix("n,,")
        fields = dict(part.split("=", 1) for part in asked.split(","))
        password = self._passwords().get(fields["n"])
        if password is None:
            return _REFUSAL
        number = len(self._talks) + 1
        talk = self._talks[number] = _Talk(password, asked, fields["r"])
        return _said(number, talk.first, done=False)

    def proceed(self, command: Document) -> Document:
        """Answer `saslContinue`."""
        number = command["conversationId"]
        final = self._talks[number].final(command["payload"].decode())
        return _said(number, final, done=True) if final else _REFUSAL

    def _passwords(self) -> dict[str, str]:
        if not self._file.exists():
            return {}
        passwords: dict[str, str] = json.loads(self._file.read_text())
        return passwords

    def _store(self, user: str, password: str) -> Document:
        self._file.write_text(json.dumps({**self._passwords(), user: password}))
        return {"ok": 1.0}


class _Talk:
    """The server's side of RFC 5802, for one client."""

    def __init__(self, password: str, asked: str, nonce: str) -> None:
        self._salted = hashlib.pbkdf2_hmac("sha256", password.encode(), _SALT, _ROUNDS)
        self._nonce = nonce + secrets.token_hex(8)
        salt = base64.b64encode(_SALT).decode()
        self.first = f"r={self._nonce},s={salt},i={_ROUNDS}"
        self._asked = asked

    def final(self, answer: str) -> str:
        """Return the last message; empty where the client doesn't know the password."""
        without_proof, _, proof = answer.rpartition(",p=")
        signed = f"{self._asked},{self.first},{without_proof}"
        client_key = self._keyed(self._salted, "Client Key")
        signature = self._keyed(hashlib.sha256(client_key).digest(), signed)
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if not hmac.compare_digest(expected, base64.b64decode(proof)):
            return ""
        server_key = self._keyed(self._salted, "Server Key")
        return "v=" + base64.b64encode(self._keyed(server_key, signed)).decode()

    @staticmethod
    def _keyed(key: bytes, text: str) -> bytes:
        return hmac.digest(key, text.encode(), "sha256")


def _said(number: int, payload: str, *, done: bool) -> Document:
    return {"ok": 1.0, "conversationId": number, "done": done, "payload": payload.encode()}
