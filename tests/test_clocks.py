"""Clocks come in as arguments, and tests lengthen or shorten no time behind a module's back.

What waits or measures takes a clock, or a structure of times, with a default. So a test hands in
its own, and needs no private name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeGuard

import pytest

_ROOT: Final = Path(__file__).parent.parent
_PACKAGE: Final = _ROOT / "orderbook_desktop"
# They say what the clocks of this system are.
# SecantusDB notes the time of a change itself; our code in its place does so, too.
_CLOCKS: Final = {
    "system/steady_clock.py",
    "exchange/silence.py",
    "storage/server/quick_storage.py",
}
_READINGS: Final = re.compile(
    r"time\.((monotonic|perf_counter|process_time|thread_time|time)(_ns)?|clock_gettime(_ns)?)"
    r"|.*loop\(\)\.time|(datetime\.)?(datetime|date)\.(now|utcnow|today)|steady_ns"
)
_CONSTANT_TIME: Final = re.compile(r"(.*\.)?_?[A-Z][A-Z0-9_]*_(S|MS|NS)")


def clock_readings(source: str) -> list[str]:
    """Return where `source` reads a clock that did not come in as an argument.

    A clock may be named as the default of an argument, or as an attribute of a class.
    """
    tree = ast.parse(source)
    allowed = {id(inner) for node in _defaults(tree) for inner in ast.walk(node)}
    found = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name)
        and isinstance(node.ctx, ast.Load)
        and _READINGS.fullmatch(ast.unparse(node))
        and id(node) not in allowed
    ]
    imported = [
        f"line {node.lineno}: from time import {name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for name in node.names
        if name.name != "sleep"
    ]
    return found + imported


def _defaults(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from node.args.defaults
            yield from filter(None, node.args.kw_defaults)
        if isinstance(node, ast.ClassDef):
            for one in node.body:
                if isinstance(one, ast.Assign | ast.AnnAssign) and one.value is not None:
                    yield one.value


def changed_times(source: str) -> list[str]:
    """Return where `source`, a test's, changes a constant time or the clocks of a module."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if _sets_clocks(node):
            found.append(f"line {node.lineno}: time")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        else:
            continue
        if _CONSTANT_TIME.fullmatch(name):
            found.append(f"line {node.lineno}: {name}")
    return found


def _sets_clocks(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether `node` puts something in the place of the `time` that a module has imported."""
    if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("setattr"):
        return False
    return any(isinstance(one, ast.Constant) and one.value == "time" for one in node.args)


def test_no_module_reads_a_clock_of_its_own() -> None:
    read = {
        str(path.relative_to(_PACKAGE)): readings
        for path in sorted(_PACKAGE.rglob("*.py"))
        if (readings := clock_readings(path.read_text(encoding="utf-8")))
    }
    assert read.keys() - _CLOCKS == set(), read


def test_no_test_changes_a_constant_time() -> None:
    changed = {
        str(path.relative_to(_ROOT)): found
        for path in sorted((_ROOT / "tests").rglob("*.py"))
        if path != Path(__file__) and (found := changed_times(path.read_text(encoding="utf-8")))
    }
    assert changed == {}


@pytest.mark.parametrize(
    "line",
    [
        "began = time.monotonic()",
        "now_ms = time.time_ns() // 1_000_000",
        "now = asyncio.get_running_loop().time",
        "moment = datetime.now(UTC)",
        "age_ns = steady_ns() - received_ns",
        "from time import perf_counter",
        "def f(now=None):\n    return (now or time.time)()",
        "class A:\n    def f(self):\n        self.now = time.monotonic",
    ],
)
def test_a_reading_of_a_clock_is_found(line: str) -> None:
    assert len(clock_readings(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "def f(now=time.monotonic): return now()",
        "async def f(*, now_ns=lambda: time.time_ns() // 1_000): return now_ns()",
        "class A:\n    now: Callable[[], float] = time.monotonic",
        "class A:\n    now = staticmethod(time.monotonic)",
        "time.sleep(1)",
    ],
)
def test_a_clock_that_comes_in_is_none(line: str) -> None:
    assert clock_readings(line) == []


@pytest.mark.parametrize(
    "line",
    [
        'monkeypatch.setattr(server, "_STABLE_AFTER_S", 0.2)',
        'monkeypatch.setattr("package.module.ANSWER_WITHIN_MS", 300)',
        "module._PAUSE_S = 0",
        'vars(module).update({"_LOOK_EVERY_S": 0.1})',
        'monkeypatch.setattr(module, "time", SimpleNamespace())',
    ],
)
def test_a_changed_time_is_found(line: str) -> None:
    assert len(changed_times(line)) == 1
