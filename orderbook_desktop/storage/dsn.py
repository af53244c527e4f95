"""The address of a database server given by the user, and the check that the server is usable."""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import ssl
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.storage.errors import (
    BadCredentials,
    BadDsn,
    DatabaseError,
    DatabaseUnreachable,
    StandaloneServer,
    UninitiatedReplicaSet,
)

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClient

log = logging.getLogger(__name__)

_LONGEST_SHOWN: Final = 300
_MOST_DIGITS: Final = 9
_SCHEMES: Final = ("mongodb://", "mongodb+srv://")

# Everything up to the last @. A password that was pasted unescaped may hold / ? # or @, and a
# strict parser would take a part of it for the host, and show it.
_CREDENTIALS = re.compile(r"^([a-z0-9+.-]*://)?([^@]*@)+", re.IGNORECASE)
_SECRET_OPTIONS = re.compile(
    r"((?:password|secret|token|authmechanismproperties)[^=&]*=)[^&]*", re.IGNORECASE
)
_SECRETS = re.compile(
    r"[?&][^=&]*(?:password|secret|token)[^=&]*=[^&]|aws_session_token:", re.IGNORECASE
)
_SOCKET_PATHS = re.compile(r"%2F[^,/?]*\.sock", re.IGNORECASE)
# MongoDB's codes of Unauthorized, UserNotFound, AuthenticationFailed, and Atlas's own.
_REFUSALS: Final = (11, 13, 18, 8000)


def redacted_dsn(dsn: str) -> str:
    """Return `dsn` without user name, password and secret options, so that it may be shown."""
    shown = _CREDENTIALS.sub(r"\1***@", dsn) if "@" in dsn else dsn
    return _SECRET_OPTIONS.sub(r"\1***", shown)


def holds_secret(dsn: str) -> bool:
    """Whether `dsn` has a password, or a secret option."""
    found = _CREDENTIALS.match(dsn)
    credentials = found.group(0).removeprefix(found.group(1) or "") if found else ""
    return ":" in credentials or _SECRETS.search(dsn) is not None


def _shown(dsn: str) -> str:
    return plain_text(redacted_dsn(dsn), _LONGEST_SHOWN)


def _file_reason(dsn: str, error: OSError) -> str:
    """Return a clause that says which file in `dsn` can't be used, and why."""
    is_content = isinstance(error, ssl.SSLError)
    reason = "it holds no certificate or key" if is_content else (error.strerror or "").lower()
    for name, path in parse_qsl(urlsplit(dsn).query):
        if name.lower().endswith("file") and (is_content or not _is_readable(path)):
            file = f"the file of {plain_text(name, 40)}, {plain_text(path)},"
            return f"{file} can't be used: {reason}"
    return f"a file that it names can't be used: {reason}"


def _answer_within_ms(dsn: str, at_most_s: float) -> int:
    """Return the limit for an answer in ms: the one in `dsn`, or `at_most_s` if that is less."""
    at_most_ms = round(at_most_s * 1000)
    options = {name.lower(): value for name, value in parse_qsl(dsn.partition("?")[2])}
    wanted = options.get("serverselectiontimeoutms", "")
    is_number = wanted.isascii() and wanted.isdecimal() and len(wanted) <= _MOST_DIGITS
    return min(max(1, int(wanted)), at_most_ms) if is_number else at_most_ms


def _is_readable(path: str) -> bool:
    try:
        with Path(path).open("rb"):
            return True
    except (OSError, ValueError):
        return False


async def check_dsn(dsn: str, answer_s: float = 5.0) -> None:
    """Check that a replica set or sharded cluster answers at `dsn`, and accepts the user.

    Else it raises a `DatabaseError`, after `answer_s` at most, or sooner if `dsn` sets a shorter
    limit.
    """
    # In a thread: neither the import nor the import lock may block the event loop.
    await asyncio.to_thread(importlib.import_module, "motor.motor_asyncio")
    from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415 - 0.2 s, not at start
    from pymongo.errors import ConfigurationError, PyMongoError  # noqa: PLC0415

    shown, within_ms = _shown(dsn), _answer_within_ms(dsn, answer_s)
    if not dsn.startswith(_SCHEMES):
        raise BadDsn(shown, "it does not begin with mongodb://")
    try:
        with warnings.catch_warnings():
            # The driver only warns of an unknown option.
            warnings.simplefilter("error", UserWarning)
            client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
                dsn, serverSelectionTimeoutMS=within_ms, connectTimeoutMS=within_ms
            )
    # The driver's parser raises InvalidURI and ConfigurationError, and ValueError or TypeError
    # for an option's value. In all cases the address is not usable.
    except (ConfigurationError, ValueError, TypeError, UserWarning) as error:
        raise BadDsn(shown, _reason(error, dsn)) from None
    except OSError as error:  # A file that an option names; TLS errors are OSErrors, too.
        raise BadDsn(shown, _file_reason(dsn, error)) from None
    try:
        hello = await client.admin.command("hello")
        _check_topology(hello, shown)
        # The server answers `hello` to all clients, and this command only to its users.
        await client.admin.command({"listDatabases": 1, "nameOnly": True})
    except PyMongoError as error:
        raise _explained(error, client, dsn) from None
    finally:
        client.close()


def _check_topology(hello: Mapping[str, Any], shown: str) -> None:
    if hello.get("msg") == "isdbgrid" or "setName" in hello:
        return
    if hello.get("isreplicaset"):
        raise UninitiatedReplicaSet(shown)
    raise StandaloneServer(shown)


def _explained(
    error: Exception, client: AsyncIOMotorClient[dict[str, Any]], dsn: str
) -> DatabaseError:
    from pymongo.errors import OperationFailure  # noqa: PLC0415

    shown, reason = _shown(dsn), _reason(error, dsn)
    log.info("the database at %s cannot be used: %s", shown, _without_secrets(str(error), dsn))
    if isinstance(error, OperationFailure) and error.code in _REFUSALS:
        return BadCredentials(shown, given=redacted_dsn(dsn) != dsn)
    described = client.delegate.topology_description.server_descriptions().values()
    if any(server.server_type_name == "RSGhost" for server in described):
        return UninitiatedReplicaSet(shown)
    return DatabaseUnreachable(shown, reason)


def _reason(error: Exception, dsn: str) -> str:
    """Return the driver's reason as a clause, without timeouts, topology and repetitions."""
    text = _without_secrets(str(error), dsn)
    clause = text.split(" (configured timeouts", 1)[0].split(", Timeout:", 1)[0]
    # The driver gives a reason for each server; the first one is enough.
    first = clause.split(",", 1)[0] if len(clause) > _LONGEST_SHOWN else clause
    return plain_text(first).rstrip(". ")


def _without_secrets(text: str, dsn: str) -> str:
    """Return the driver's message `text` without the credentials in `dsn`."""
    found = _CREDENTIALS.match(dsn)
    if found is None:
        return text
    credentials = found.group(0).removeprefix(found.group(1) or "").rstrip("@")
    parts = {credentials, *re.split(r"[:@/?#]", credentials)} - {""}
    either = "|".join(re.escape(part) for part in sorted(parts, key=len, reverse=True))
    if not parts:
        return text
    # The path of a socket may contain the user's name, and has to stay a correct path.
    paths = [unquote_plus(path) for path in _SOCKET_PATHS.findall(dsn[found.end() :])]
    exempt = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True)) or "(?!)"
    return re.sub(rf"({exempt})|(?<!\w)(?:{either})(?!\w)", lambda match: match[1] or "***", text)
