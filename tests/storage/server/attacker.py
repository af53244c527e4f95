"""An unprivileged user who wants the database: binds what it reads of, and asks every listener.

Run as root it becomes `nobody` first. Until its input ends it looks into every command line for
ports and sockets and binds them, to answer there as a server does that refuses a password; and it
asks every listener of the computer, by port and by socket, for data without one. At the end it
prints what it got, as JSON.

    attacker WORD DATABASE      WORD: command lines without it are left alone, as those of other
                                tests; DATABASE: the one that is looked for
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import bson

_NOBODY: Final = 65_534
_HEADER: Final = struct.Struct("<iiii")
_LISTENS: Final = "0A"
# Listeners of other programs may never answer, and each is asked again and again.
_ANSWER_WITHIN_S: Final = 2.0
_PORT: Final = re.compile(rb"(?<![\d.])(\d{4,5})(?!\d)")
_SOCKET: Final = re.compile(rb"/[^\0,=]+\.sock")
# The comment is for other attackers, of tests that run at the same time.
_OURS: Final = "an attacker asks"
_QUESTION: Final = {"listDatabases": 1, "nameOnly": True, "comment": _OURS, "$db": "admin"}


class Attacker:
    """What it did and got."""

    def __init__(self, word: str, database: str) -> None:
        self._word = word.encode()
        self._database = database
        self.bound: set[str] = set()
        self.heard: list[str] = []
        self.served: list[str] = []
        self.asked = 0
        self._left_alone: set[int] = set()
        self._ended = threading.Event()

    def run(self) -> None:
        """Attack until the input ends."""
        threads = [threading.Thread(target=one) for one in (self._bind_all, self._ask_all)]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        self._ended.set()
        for thread in threads:
            thread.join()

    def _bind_all(self) -> None:
        while not self._ended.is_set():
            for words in _command_lines(self._word):
                for found in _PORT.findall(words):
                    self._bind(socket.AF_INET, ("127.0.0.1", int(found)))
                for found in _SOCKET.findall(words):
                    self._bind(socket.AF_UNIX, found.decode(errors="surrogateescape"))
            time.sleep(0.002)

    def _bind(self, family: int, address: Any) -> None:
        name = str(address)
        if name in self.bound or (family == socket.AF_INET and not 1024 < address[1] < 65_536):
            return
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            if family == socket.AF_INET:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(address)  # noqa: PTH108 - may not be text
            listener.bind(address)
            if family == socket.AF_INET:
                self._left_alone.add(address[1])  # Or it would ask itself.
            listener.listen()
        except OSError:
            listener.close()
            return
        self.bound.add(name)
        threading.Thread(target=self._refuse_all, args=(listener, name), daemon=True).start()

    def _refuse_all(self, listener: socket.socket, name: str) -> None:
        while True:
            talk, _ = listener.accept()
            threading.Thread(target=self._refuse, args=(talk, name), daemon=True).start()

    def _refuse(self, talk: socket.socket, name: str) -> None:
        """Be a primary that does not know the password."""
        with contextlib.suppress(OSError, ValueError, struct.error, bson.errors.BSONError), talk:
            while True:
                command, request = _receive(talk)
                if command.get("comment") == _OURS:
                    return
                self.heard.append(f"{name}: {next(iter(command))}")
                is_hello = next(iter(command)).lower() in ("hello", "ismaster")
                answer = _PRIMARY if is_hello else {"ok": 0.0, "code": 18, "errmsg": "no"}
                _send(talk, answer, request)

    def _ask_all(self) -> None:
        while not self._ended.is_set():
            for family, address in _listeners():
                if family == socket.AF_INET and address[1] in self._left_alone:
                    continue
                self._ask(family, address)
            time.sleep(0.002)

    def _ask(self, family: int, address: Any) -> None:
        self.asked += 1
        with (
            contextlib.suppress(OSError, ValueError, struct.error, bson.errors.BSONError),
            socket.socket(family, socket.SOCK_STREAM) as talk,
        ):
            talk.settimeout(0.1)
            talk.connect(address)
            _send(talk, _QUESTION, 0)
            answer, _ = _receive(talk, _ANSWER_WITHIN_S)
            if self._database in str(answer):
                self.served.append(f"{address}: {answer}")


_PRIMARY: Final = {
    "ok": 1.0,
    "helloOk": True,
    "ismaster": True,
    "isWritablePrimary": True,
    "setName": "secantus",
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "maxBsonObjectSize": 16_777_216,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "saslSupportedMechs": ["SCRAM-SHA-256"],
}


def _command_lines(word: bytes) -> list[bytes]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes())
    return [line for line in lines if word in line and b"attacker" not in line]


def _listeners() -> list[tuple[int, Any]]:
    """Return every listening port of this computer, and every socket with a name."""
    found: list[tuple[int, Any]] = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENS:
                found.append((socket.AF_INET, ("127.0.0.1", int(fields[1].split(":")[1], 16))))
        for line in Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()[1:]:
            path = line.split(maxsplit=7)[7:]
            if path and path[0].endswith(".sock"):
                found.append((socket.AF_UNIX, path[0]))
    return found


def _send(talk: socket.socket, document: dict[str, Any], answers: int) -> None:
    body = b"\0" * 5 + bson.encode(document)
    talk.sendall(_HEADER.pack(_HEADER.size + len(body), 1, answers, 2013) + body)


def _receive(talk: socket.socket, within_s: float = 60.0) -> tuple[dict[str, Any], int]:
    length, request, _, opcode = _HEADER.unpack(_exactly(talk, _HEADER.size, within_s))
    body = _exactly(talk, min(length, 2**20) - _HEADER.size, within_s)
    start = body.index(b"\0", 4) + 9 if opcode == 2004 else 5
    (size,) = struct.unpack_from("<i", body, start)
    return bson.decode(body[start : start + size]), request


def _exactly(talk: socket.socket, size: int, within_s: float) -> bytes:
    received = b""
    while len(received) < size:
        ready, _, _ = select.select([talk], [], [], within_s)
        part = talk.recv(size - len(received)) if ready else b""
        if not part:
            raise ConnectionResetError
        received += part
    return received


def main() -> None:
    """Attack."""
    # Everything is imported by now: `nobody` may not be able to read it.
    bson.decode(bson.encode({"a": 1}))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    attacker = Attacker(*sys.argv[1:])
    print("attacking", flush=True)
    attacker.run()
    found = {"bound": sorted(attacker.bound), "heard": attacker.heard, "served": attacker.served}
    print(json.dumps({**found, "asked": attacker.asked}), flush=True)
    os._exit(0)  # Its threads wait for guests.


if __name__ == "__main__":
    main()
