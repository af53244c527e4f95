"""The container file and its place in the compose file fit the program."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

_ROOT = Path(__file__).parents[2]
_CONTAINERFILE = (_ROOT / "packaging" / "Containerfile").read_text(encoding="utf-8")
_WITHOUT = ("PySide6", "shiboken6", "qasync", "secantus", "wiredtiger")


def test_copied_files_exist_and_are_not_ignored() -> None:
    ignored = (_ROOT / "packaging" / "Containerfile.dockerignore").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", _CONTAINERFILE, re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert names
    for name in names:
        assert (_ROOT / name).exists(), name
        assert f"!{name}\n" in ignored


def test_the_image_does_not_run_as_root() -> None:
    assert re.search(r"^USER (?!root)\w+$", _CONTAINERFILE, re.MULTILINE)


def test_the_commands_run_without_the_packages_that_the_image_removes() -> None:
    script = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {_WITHOUT}:
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
import orderbook_desktop.app.cli, orderbook_desktop.app.commands.record
import orderbook_desktop.app.commands.serve
import orderbook_desktop.web.server
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("service", ["record", "serve"])
def test_one_profile_starts_all_three(service: str) -> None:
    compose = YAML(typ="safe").load(_ROOT / "docker-compose.mongo.yml")
    described = compose["services"][service]
    assert described["profiles"] == ["app"]
    assert described["depends_on"]["mongo"]["condition"] == "service_healthy"
    assert f"orderbook-desktop {service} $$SYMBOLS" in described["entrypoint"][-1]
    assert described["build"]["dockerfile"] == "packaging/Containerfile"
    for port in described.get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_the_image_is_built_after_the_tests_and_pushed_on_a_tag() -> None:
    workflow = YAML(typ="safe").load(_ROOT / ".github" / "workflows" / "image.yml")
    assert workflow["jobs"]["image"]["needs"] == "test"
    assert workflow["on"]["push"]["tags"] == ["v*"]
    pushing = [
        step for step in workflow["jobs"]["image"]["steps"] if step.get("with", {}).get("push")
    ]
    assert [step["if"] for step in pushing] == ["startsWith(github.ref, 'refs/tags/')"]
