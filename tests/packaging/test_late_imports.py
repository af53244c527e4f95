"""What is imported late, even by a name in a text, is in the bundle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from bundling.product import ROOT

SPEC = (ROOT / "packaging" / "orderbook_desktop.spec").read_text(encoding="utf-8")
PACKAGE = ROOT / "orderbook_desktop"
SOURCES = sorted(PACKAGE.rglob("*.py"))
# Seen in `imported by name`, and not in the program's own bundle: the database is another one.
OTHER_EXECUTABLE = {"secantus", "wiredtiger"}


def listed(name: str) -> set[str]:
    """Return the texts of the list that the spec gives for an argument or constant `name`."""
    [found] = re.findall(rf"^\s*{name}\s?=\s?\[(.*?)\]", SPEC, re.MULTILINE | re.DOTALL)[:1]
    return set(re.findall(r'"([\w.]+)"', found))


def trees() -> Iterator[ast.Module]:
    for path in SOURCES:
        yield ast.parse(path.read_text(encoding="utf-8"))


def written_imports() -> set[str]:
    """Return every module that an import statement names, at whatever place."""
    names = set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imports_by_name() -> set[str]:
    """Return every module that is handed to `import_module`, also by way of a constant."""
    names = set()
    for tree in trees():
        calls = [ast.unparse(one) for one in ast.walk(tree) if isinstance(one, ast.Call)]
        if not any("import_module" in one for one in calls):
            continue
        texts = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        known = re.compile(r"(orderbook_desktop|ccxt|motor|aiohttp|websockets)(\.\w+)*")
        names |= {text for text in texts if known.fullmatch(text)}
    return names - OTHER_EXECUTABLE


def test_modules_imported_by_name_are_collected() -> None:
    names = imports_by_name()
    assert {"orderbook_desktop.web.server", "motor.motor_asyncio"} <= names
    # PyInstaller follows import statements, those in functions and under TYPE_CHECKING too.
    seen = written_imports() | listed("hiddenimports")
    # The stand-in of a package imports these (packaging/frozen/only_binance.py).
    seen |= {"ccxt.base.errors"}
    assert names - seen == set()


@pytest.mark.parametrize(
    "late", ["arro3", "segno", "psutil", "uvicorn", "fastapi", "jinja2", "zstandard"]
)
def test_what_the_window_imports_late_is_written_as_an_import(late: str) -> None:
    assert {name.partition(".")[0] for name in written_imports()} >= {late}


def test_nothing_that_is_left_out_is_imported() -> None:
    left_out = listed("NOT_SHIPPED")
    assert {"pytest", "numpy.testing", "uvloop"} <= left_out
    used = {
        name
        for name in written_imports()
        for one in left_out
        if name == one or name.startswith(f"{one}.")
    }
    assert used == set()


def test_what_only_developers_have_is_not_imported() -> None:
    tops = {name.partition(".")[0] for name in written_imports()}
    assert tops.isdisjoint({"hftbacktest", "httpx", "hypothesis", "order_book", "pandas"})
