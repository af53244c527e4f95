"""What a user did is information, a fault is a warning or worse, and only a fault has a trace."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import orderbook_desktop

_PACKAGE = Path(orderbook_desktop.__path__[0])
# The beginnings of lines about errors that are no fault: a wait that ends, or what another line of
# the log tells.
_NO_FAULTS = {
    # A viewer need not wait longer for a book; the feed logs why there is none.
    "web/hub.py: %s is not known after %.1f s",
    # A server that another process still holds, or that waits for its place; a failure is raised.
    "storage/server/local_server.py: waiting: %s",
    # Any program of this computer may knock, as often as it likes.
    "storage/server/listeners.py: refused a client at %s: %s",
    # A viewer asked for the status of a symbol that is not on offer.
    "web/api.py: the status is without %s: %s",
    # The exchange's limit is kept, or the database has said why it has no book.
    "engine/book_feed.py: %s: no snapshot: %s",
    # The book is as it was, and the exchange is asked again; its refusal is a warning.
    "engine/book_feed.py: %s: the book is not known any deeper: %s",
    # The person who opened the file is told.
    "app/window.py: a packed file can't be shown: %s",
    # Reading on, or `verify`, reports the damage.
    "storage/reading/joined_answers.py: %s: an answer can't be joined: %s",
    "storage/reading/recording.py: %s: it is not known how deep a book is known: %s",
    # The person who plays the recording is told, or the replay tells it when it comes there.
    "replay/coverage.py: %s: quiet is not known: %s",
    "replay/marks.py: replay of %s: its coverage: %s",
    "replay/marks.py: replay of %s: its bookmarks: %s",
    "replay/player.py: replay of %s: ",
    "replay/reading.py: replay of %s: ",
    # A cache: the tile is made again.
    "storage/tiles/cache.py: %s: %s",
    "storage/tiles/building.py: %s: no tiles of the heatmap could be built: %s",
    "storage/tiles/cache.py: a tile of the heatmap was not written: %s",
    # The menu tells it; of a database that is away the recorder does.
    "engine/spare_time.py: no tiles are built: %s",
    # A listing of the exchange's that is odd, counted elsewhere.
    "exchange/catalogue.py: left out the listing %s (%s)",
    "exchange/catalogue.py: %s has the odd filter value %s",
    # The symbols change seldom: without an event the connections can't be compared.
    "exchange/stream_group.py: a quiet symbol: the next connection takes over",
}


def _log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and ast.unparse(node.func.value) in {"_log", "log", "logging.getLogger(__name__)"}
        ):
            yield node


def _level(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(_PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield path.relative_to(_PACKAGE).as_posix(), tree


def test_no_information_has_a_trace() -> None:
    """A level that is computed may turn out to be information, and has no trace, either."""
    seen = 0
    for name, tree in _modules():
        for call in _log_calls(tree):
            seen += 1
            with_trace = any(keyword.arg == "exc_info" for keyword in call.keywords)
            level = ast.unparse(call.args[0]) if _level(call) == "log" else _level(call)
            is_of_the_end = name == "app/cli.py" and "ERROR" in level
            if not is_of_the_end:
                assert not with_trace or level in {"warning", "error", "critical"}, (name, level)
    assert seen > 80


def test_a_caught_error_is_at_least_a_warning() -> None:
    found = set()
    for name, tree in _modules():
        for handler in ast.walk(tree):
            if not isinstance(handler, ast.ExceptHandler):
                continue
            for call in _log_calls(handler):
                if _level(call) == "info":
                    found.add(f"{name}: {ast.literal_eval(call.args[0])}")
    assert [line for line in found if not line.startswith(tuple(_NO_FAULTS))] == []
