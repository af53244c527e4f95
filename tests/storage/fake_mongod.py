"""What a test puts on the PATH as `mongod`; FAKE_MONGOD in the environment says what it does.

secantus     become SecantusDB, which is a primary at once
replica-set  behave as a mongod does that was started with --replSet: no member of a set until
             initiated, and lost when its configuration names another place
says TEXT    print TEXT and fail
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import bson

from tests.storage.fake_mongo import Document, error, hello, serving
from tests.storage.fake_users import MECHANISMS, FakeUsers


class ReplicaSetMember:
    """The one member of a replica set, its configuration kept in `folder`."""

    def __init__(self, me: str, folder: Path, name: str, *, locked: bool) -> None:
        self._me = me
        self._name = name
        self._locked = locked
        self._file = folder / "config.bson"
        self._log = folder / "commands.txt"
        self._users = FakeUsers(folder)
        self._hellos = 0

    def answer(self, name: str, command: Document) -> Document:
        """Return the answer to a command."""
        with self._log.open("a") as log:
            log.write(f"{name}\n")
        answers: dict[str, Callable[[], Document]] = {
            "hello": self._hello,
            "replSetGetStatus": self._status,
            "replSetInitiate": lambda: self._initiate(command[name]),
            "replSetGetConfig": lambda: {"ok": 1.0, "config": self._config()},
            "replSetReconfig": lambda: self._reconfigure(command[name], force=command["force"]),
            "panic": _panic,
            "createUser": lambda: self._create_user(command),
            "updateUser": lambda: self._users.update(command),
            "saslStart": lambda: self._users.start(command),
            "saslContinue": lambda: self._users.proceed(command),
            "setParameter": lambda: error(72, "attempted to set unrecognized parameter"),
        }
        return answers.get(name, lambda: {"ok": 1.0})()

    def _create_user(self, command: Document) -> Document:
        """Create the first user for a local client, and others on an open server only."""
        if self._locked and self._users.exist:
            return error(13, "command createUser requires authentication")
        return self._users.create(command)

    def _status(self) -> Document:
        if self._config() is None:
            return error(94, "no replset config has been received")
        if not self._is_member():
            return error(93, "Our replica set config is invalid or we are not a member of it")
        return {"ok": 1.0, "myState": 1}

    def _hello(self) -> Document:
        if not self._name:
            return hello(isWritablePrimary=True, saslSupportedMechs=MECHANISMS)
        if not self._is_member():
            info = "Does not have a valid replica set config"
            return hello(isreplicaset=True, info=info, saslSupportedMechs=MECHANISMS)
        # The election takes a moment.
        self._hellos += 1
        return hello(
            setName=self._name,
            isWritablePrimary=self._hellos > 2,
            hosts=[self._me],
            me=self._me,
            saslSupportedMechs=MECHANISMS,
        )

    def _initiate(self, config: Document) -> Document:
        if self._config() is not None:
            return error(23, "already initialized")
        return self._store({"version": 1, **config})

    def _reconfigure(self, config: Document, *, force: bool) -> Document:
        old = self._config()
        if old is None or not force or config["version"] <= old["version"]:
            return error(103, "a lost member takes a newer version only, by force")
        return self._store(config)

    def _store(self, config: Document) -> Document:
        if config["_id"] != self._name:
            return error(103, "the name differs from that of --replSet")
        self._file.write_bytes(bson.encode(config))
        return {"ok": 1.0}

    def _config(self) -> Document | None:
        return bson.decode(self._file.read_bytes()) if self._file.exists() else None

    def _is_member(self) -> bool:
        config = self._config()
        return config is not None and config["members"][0]["host"] == self._me


def _panic() -> Document:
    print("WT_PANIC: WiredTiger library panic", flush=True)
    return error(1, "internal server error")


def _check_key(file: Path) -> None:
    """Refuse what a mongod refuses: a key that others can read, or that is none."""
    if file.stat().st_mode & 0o077:
        sys.exit(f"permissions on {file} are too open")
    if not re.fullmatch(r"[A-Za-z0-9+/=\s]{6,1024}", file.read_text()):
        sys.exit(f"invalid char in key file {file}")


async def _serve(path: str, folder: Path, name: str, *, locked: bool) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    # A mongod does the same with the socket of the one before it.
    Path(path).unlink(missing_ok=True)  # noqa: ASYNC240 - nothing runs yet that could wait
    async with serving(ReplicaSetMember(path, folder, name, locked=locked).answer, path):
        await ended.wait()


def main() -> None:
    """Do what FAKE_MONGOD says."""
    parser = argparse.ArgumentParser()
    for option in ("--bind_ip", "--port", "--dbpath", "--oplogSize", "--wiredTigerCacheSizeGB"):
        parser.add_argument(option, required=True)
    parser.add_argument("--replSet", default="")
    parser.add_argument("--setParameter", action="append")
    parser.add_argument("--keyFile", type=Path)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--nounixsocket", action="store_true")
    given = parser.parse_args()
    behaviour = os.environ.get("FAKE_MONGOD", "secantus")
    if behaviour.startswith("says "):
        sys.exit(behaviour.removeprefix("says "))
    if given.keyFile:
        _check_key(given.keyFile)
    if behaviour == "replica-set":
        with contextlib.suppress(KeyboardInterrupt):
            folder, locked = Path(given.dbpath), bool(given.keyFile)
            asyncio.run(_serve(given.bind_ip, folder, given.replSet, locked=locked))
        return
    _become_secantus(Path(given.dbpath), given.bind_ip)


def _become_secantus(folder: Path, path: str) -> None:
    config = folder.with_name("empty.toml")
    config.touch()
    child = [sys.executable, "-P", "-m", "orderbook_desktop.storage.server.secantus_child"]
    secret = ["--password-file", str(folder.with_suffix(".password"))]
    arguments = ["--config", str(config), "--log-level", "WARNING", "--storage-path", str(folder)]
    place = ["--socket", path, "--auth"]
    os.execv(sys.executable, [*child, "serve", *secret, *place, *arguments])


if __name__ == "__main__":
    main()
