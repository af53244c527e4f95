"""Modules that are imported late, also by a name in a string, are in the bundle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest
from bundling.product import ROOT

SPEC = (ROOT / "packaging" / "orderbook_desktop.spec").read_text(encoding="utf-8")
PACKAGE = ROOT / "orderbook_desktop"
SOURCES = sorted(PACKAGE.rglob("*.py"))
# `imports_by_name` finds these, but they are in the database's executable, not in the program's.
OTHER_EXECUTABLE = {"secantus", "wiredtiger"}


def listed(name: str) -> set[str]:
    """Return the strings of the spec's list for the argument or constant `name`."""
    [found] = re.findall(rf"^\s*{name}\s?=\s?\[(.*?)\]", SPEC, re.MULTILINE | re.DOTALL)[:1]
    return set(re.findall(r'"([\w.]+)"', found))


def trees() -> Iterator[ast.Module]:
    for path in SOURCES:
        yield ast.parse(path.read_text(encoding="utf-8"))


@cache
def written_imports() -> frozenset[str]:
    """Return all modules that import statements name, in all places."""
    names: set[str] = set()
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def imports_by_name() -> set[str]:
    """Return all modules that are passed to `import_module`, also by a constant."""
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
    # PyInstaller follows all import statements, also in functions and under TYPE_CHECKING.
    seen = written_imports() | listed("hiddenimports")
    # The replacement of a package imports these (packaging/frozen/only_binance.py).
    seen |= {"ccxt.base.errors"}
    assert names - seen == set()


@pytest.mark.parametrize(
    "late", ["arro3", "segno", "psutil", "uvicorn", "fastapi", "jinja2", "zstandard"]
)
def test_late_imports_of_the_window_are_import_statements(late: str) -> None:
    assert {name.partition(".")[0] for name in written_imports()} >= {late}


def test_no_excluded_module_is_imported() -> None:
    left_out = listed("NOT_SHIPPED")
    assert {"pytest", "numpy.testing", "uvloop"} <= left_out
    used = {
        name
        for name in written_imports()
        for one in left_out
        if name == one or name.startswith(f"{one}.")
    }
    assert used == set()


def test_no_module_of_the_developers_is_imported() -> None:
    tops = {name.partition(".")[0] for name in written_imports()}
    assert tops.isdisjoint({"hftbacktest", "httpx", "hypothesis", "order_book", "pandas"})
