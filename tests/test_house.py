"""The house itself: layers that hold and can fail, light imports, pins, and what a wheel has."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import orderbook_desktop

_ROOT = Path(__file__).parent.parent
_PACKAGE = _ROOT / "orderbook_desktop"
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
_TOOLS = Path(sys.executable).parent

# By contract: a module, the import that breaks the contract there, and how that is reported.
_VIOLATIONS = {
    "Layers of the house": ("core", "orderbook_desktop.gui", "core.planted -> .*gui"),
    "No circles": (
        "web.safety",
        "orderbook_desktop.web.application",
        r"\.safety -> \.application",
    ),
    "Floors of the storage": (
        "storage.reading",
        "orderbook_desktop.storage.archive",
        "reading.planted -> .*archive",
    ),
    "Rooms of the window": (
        "gui.dialogs",
        "orderbook_desktop.gui.panes",
        "dialogs.planted -> .*panes",
    ),
    "panes know nothing of one another": (
        "gui.panes.ladder",
        "orderbook_desktop.gui.panes.depth_chart",
        "ladder.planted -> .*depth_chart",
    ),
    "the window names none of its panes": (
        "gui.window",
        "orderbook_desktop.gui.panes.ladder",
        "window.planted -> .*ladder",
    ),
    "core is pure": ("core", "time", "core.planted -> time"),
    "the archive's codec is for what reads or writes archives": (
        "core",
        "orderbook_desktop.core.archive",
        "core.planted -> .*core.archive",
    ),
    "only the store knows what is stored how": (
        "storage.archive",
        "orderbook_desktop.storage.store.schema",
        "archive.planted -> .*schema",
    ),
    "views see sources through core's Protocols only": (
        "gui",
        "orderbook_desktop.storage",
        "gui.planted -> .*storage",
    ),
    "the window knows neither database nor exchange": ("gui", "ccxt", "gui.planted -> ccxt"),
    "only the window and its program know Qt": ("web", "qasync", "web.planted -> qasync"),
    "only storage speaks to the database": ("exchange", "motor", "exchange.planted -> motor"),
}

# What importing every module of a package must not load, however indirectly.
_DATABASE = {"motor", "pymongo"}
_EXCHANGE = {"ccxt", "aiohttp", "websockets"}
_QT = {"PySide6", "qasync"}
_LIGHT = {
    "core": {*_DATABASE, *_EXCHANGE, *_QT, "asyncio", "pydantic", "typer", "rich"},
    "system": {*_DATABASE, *_EXCHANGE, *_QT, "numpy", "pydantic", "typer", "rich"},
    "formats": {*_DATABASE, *_EXCHANGE, *_QT, "asyncio", "pydantic", "typer", "rich"},
    "exchange": {*_DATABASE, *_QT, "ccxt"},
    "storage": {*_EXCHANGE, *_QT},
    "engine": {*_DATABASE, *_QT, "ccxt", "aiohttp"},
    "desk": {*_DATABASE, *_QT, "ccxt", "aiohttp"},
    "replay": {*_EXCHANGE, *_QT},
    "gui": {*_DATABASE, *_EXCHANGE},
    "web": {*_DATABASE, *_EXCHANGE, *_QT},
    "app": {"ccxt"},
}
# It serves sockets, and only the command `replay` loads it.
_SERVING = "orderbook_desktop.replay.served"

_TOP_LEVEL = {
    *(".ci", ".editorconfig", ".gitattributes", ".github", ".gitignore"),
    *("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml"),
    *("docker-compose.mongo.yml", "docs", "orderbook_desktop", "packaging", "resources", "tests"),
}

_REQUIREMENTS = sorted((_ROOT / "packaging").glob("requirements*.txt"))


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_TOOLS / "lint-imports", "--config", _ROOT / "pyproject.toml", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_the_layers_hold() -> None:
    done = _lint_imports(_ROOT)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def broken_house(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Plant every violation in a copy of the package; return what import-linter says."""
    folder = tmp_path_factory.mktemp("broken")
    package = folder / "orderbook_desktop"
    shutil.copytree(_ROOT / package.name, package, ignore=shutil.ignore_patterns("__pycache__"))
    for layer, imported, _ in _VIOLATIONS.values():
        with package.joinpath(*layer.split("."), "planted.py").open(
            "a", encoding="utf-8"
        ) as planted:
            planted.write(f"import {imported}\n")
    done = _lint_imports(folder)
    assert done.returncode == 1
    return done.stdout


def test_every_contract_is_proved() -> None:
    contracts = _PROJECT["tool"]["importlinter"]["contracts"]
    assert {contract["name"] for contract in contracts} == _VIOLATIONS.keys()


@pytest.mark.parametrize("contract", _VIOLATIONS)
def test_a_contract_can_fail(broken_house: str, contract: str) -> None:
    assert f"{contract} BROKEN" in broken_house
    findings = broken_house.rpartition(f"\n{contract}\n---")[2].partition("\n---")[0]
    assert re.search(_VIOLATIONS[contract][2], findings)


@pytest.mark.parametrize("layer", _LIGHT)
def test_imports_stay_light(layer: str) -> None:
    script = f"""
import importlib, pkgutil, sys
package = importlib.import_module("orderbook_desktop.{layer}")
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if module.name != "{_SERVING}":
        importlib.import_module(module.name)
print(*sys.modules, sep="\\n")
"""
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert not _LIGHT[layer] & set(loaded.split())


def test_every_exception_with_fields_is_made_with_them() -> None:
    """Only the root of our exceptions makes fields of annotated names; others are dataclasses."""
    script = """
import importlib, inspect, pkgutil
from dataclasses import is_dataclass
import orderbook_desktop
from orderbook_desktop.core.errors import OrderbookError
for module in pkgutil.walk_packages(orderbook_desktop.__path__, "orderbook_desktop."):
    if not module.name.endswith("__main__"):
        for name, one in vars(importlib.import_module(module.name)).items():
            is_ours = inspect.isclass(one) and one.__module__.startswith("orderbook_desktop")
            if is_ours and issubclass(one, BaseException) and not issubclass(one, OrderbookError):
                if inspect.get_annotations(one) and not is_dataclass(one):
                    print(module.name, name)
"""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert found == ""


def _collections_in(source: str) -> list[str]:
    """Return where `source` reaches a collection, or motor's database."""
    names = ("collection", "motor", "get_collection")
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr in names
    ]


def _fields_in(source: str) -> list[str]:
    """Return where `source` looks up a field by its name, as one does in a document."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(slice=ast.Constant(value=str())):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str()), *_]):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def _found_in(paths: Iterable[Path], look: Callable[[str], list[str]]) -> dict[str, list[str]]:
    return {
        path.relative_to(_PACKAGE).as_posix(): found
        for path in sorted(paths)
        if (found := look(path.read_text(encoding="utf-8")))
    }


def test_only_the_store_touches_collections() -> None:
    """The server's folder asks its own server how it is; it knows no recording."""
    folders = (_PACKAGE / "storage" / "store", _PACKAGE / "storage" / "server")
    others = (path for path in _PACKAGE.rglob("*.py") if not any(map(path.is_relative_to, folders)))
    assert _found_in(others, _collections_in) == {}


@pytest.mark.parametrize(
    "line", ["self._database.collection(SEGMENTS).find_one()", 'database.motor["segments"]']
)
def test_a_touched_collection_is_found(line: str) -> None:
    assert len(_collections_in(line)) == 1


def test_the_rooms_of_the_storage_read_no_documents() -> None:
    """They get typed parts of a recording from the store."""
    rooms = ("archive", "exports", "imports", "reading", "recorder", "retention", "verification")
    paths = (path for room in rooms for path in (_PACKAGE / "storage" / room).glob("*.py"))
    assert _found_in(paths, _fields_in) == {}


@pytest.mark.parametrize(
    "line", ['one["market"]', 'segment["owner"] = 1', 'found.get("u")', 'found.get("u", 0)']
)
def test_a_looked_up_field_is_found(line: str) -> None:
    assert len(_fields_in(line)) == 1


def test_there_are_pinned_requirements() -> None:
    assert [path.name for path in _REQUIREMENTS] == ["requirements-dev.txt", "requirements.txt"]


@pytest.mark.parametrize("path", _REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_are_exact_and_hashed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for requirement in re.split(r"\n(?=[a-zA-Z])", text):
        assert re.match(r"[a-z0-9-]+==\S+", requirement)
        assert "--hash=sha256:" in requirement
    # No address of an index, nor any option that would name one.
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, re.MULTILINE)


def test_dev_pins_are_the_pins_of_the_program() -> None:
    dev, run = (
        set(re.findall(r"^[a-z0-9-]+==\S+", path.read_text(encoding="utf-8"), re.MULTILINE))
        for path in _REQUIREMENTS
    )
    assert run < dev


def test_every_direct_requirement_is_pinned() -> None:
    pinned = set(re.findall(r"^([a-z0-9-]+)==", _REQUIREMENTS[-1].read_text(), re.MULTILINE))
    for requirement in _PROJECT["project"]["dependencies"]:
        name = re.match(r"[\w-]+", requirement)
        assert name is not None
        assert name[0].lower().replace("_", "-") in pinned


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, with what is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=_ROOT,
        capture_output=True,
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def _files(folder: str) -> set[str]:
    names = {
        path.relative_to(_ROOT).as_posix() for path in (_ROOT / folder).rglob("*") if path.is_file()
    }
    # Without what tools left there.
    return {name for name in names if not re.search(r"/(__pycache__|\..*)/", name)}


def test_the_wheel_has_the_package_and_its_resources(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = _files("orderbook_desktop")
    resources = {f"orderbook_desktop/{name}" for name in _files("resources")}
    metadata = f"orderbook_desktop-{orderbook_desktop.__version__}.dist-info"
    assert resources
    assert sources | resources == {name for name in names if not name.startswith(metadata)}
    assert f"{metadata}/licenses/LICENSE" in names


def test_the_version_is_written_once(wheel: Path) -> None:
    assert _PROJECT["project"]["dynamic"] == ["version"]
    assert wheel.name.startswith(f"orderbook_desktop-{orderbook_desktop.__version__}-")


def test_the_changelog_knows_what_is_coming() -> None:
    assert "\n## [Unreleased]\n" in (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_licence_is_mit() -> None:
    assert (_ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


@pytest.mark.skipif(
    not (_ROOT / ".git").exists() or not shutil.which("git"), reason="not a git checkout"
)
def test_the_top_level_holds_nothing_unexpected() -> None:
    tracked = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {name.split("/")[0] for name in tracked.split("\0") if name} <= _TOP_LEVEL
