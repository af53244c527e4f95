"""The tree at the top of a module of errors is the tree of the errors that are there."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import orderbook_desktop
from orderbook_desktop.core.errors import OrderbookError

ROOT = Path(orderbook_desktop.__file__).parent
MODULES = [
    ".".join(("orderbook_desktop", *path.relative_to(ROOT).with_suffix("").parts))
    for path in sorted(ROOT.rglob("errors.py"))
    if "──" in path.read_text(encoding="utf-8")
]
_LINE = re.compile(r"^(?P<branch>[\s│├└─]*)(?P<name>[A-Z]\w+)(?P<told>.*)$")
_ELSEWHERE = re.compile(r"\((\w+\.py)\)")


def _tree(module: str) -> list[tuple[str, str, str]]:
    """Return name, parent and, where it is defined elsewhere, file of each error in the tree."""
    found: list[tuple[str, str, str]] = []
    above: list[tuple[int, str]] = []
    for line in (importlib.import_module(module).__doc__ or "").splitlines():
        match = _LINE.match(line)
        if match is None or not (above or line.strip() in ("KnownError", "OrderbookError")):
            continue
        depth = len(match["branch"])
        if above and "──" not in match["branch"]:
            # Prose below the tree.
            break
        above = [one for one in above if one[0] < depth]
        elsewhere = _ELSEWHERE.search(match["told"])
        found.append(
            (match["name"], above[-1][1] if above else "", elsewhere[1] if elsewhere else "")
        )
        above.append((depth, match["name"]))
    return found


def _errors_in(module: str) -> dict[str, type]:
    held = vars(importlib.import_module(module)).values()
    return {
        one.__name__: one
        for one in held
        if isinstance(one, type) and issubclass(one, OrderbookError) and one.__module__ == module
    }


def test_there_are_trees() -> None:
    assert len(MODULES) >= 4


@pytest.mark.parametrize("module", MODULES)
def test_the_tree_lists_what_is_in_the_module(module: str) -> None:
    tree, defined = _tree(module), _errors_in(module)
    listed = {name for name, _, file in tree if not file}
    assert defined.keys() <= listed
    for name, parent, file in tree:
        if name in defined and parent:
            assert parent in {base.__name__ for base in defined[name].__bases__}, name
        elif not file:
            assert name == "KnownError" or name.endswith("Error"), f"{name} is not there"


@pytest.mark.parametrize("module", MODULES)
def test_what_is_defined_elsewhere_is_there(module: str) -> None:
    folder = ROOT.joinpath(*module.split(".")[1:-1])
    for name, _, file in _tree(module):
        if file:
            places = list(folder.rglob(file))
            classes = {
                node.name
                for place in places
                for node in ast.walk(ast.parse(place.read_text(encoding="utf-8")))
                if isinstance(node, ast.ClassDef)
            }
            assert name in classes, f"{name} is not in {file}"


@pytest.mark.parametrize("module", MODULES)
def test_the_tree_lists_what_belongs_below_it(module: str) -> None:
    """Errors elsewhere in the folder count, if their parent is one of the module's own."""
    listed = {name for name, _, _ in _tree(module)}
    parents = {name for name, parent, _ in _tree(module) if parent not in ("", "OrderbookError")}
    missing = {
        f"{path.name}: {node.name}"
        for path in ROOT.joinpath(*module.split(".")[1:-1]).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and parents.intersection(map(ast.unparse, node.bases))
        and node.name not in listed
    }
    assert not missing
