"""The compose file for a MongoDB is valid, private, and initiates itself."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.storage.processes import ROOT

COMPOSE = ROOT / "docker-compose.mongo.yml"


def test_is_valid_by_the_compose_specification() -> None:
    checker = [sys.executable, "-m", "check_jsonschema"]
    schema = ["--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*checker, *schema, str(COMPOSE)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="there is no docker-compose")
def test_is_understood_by_docker_compose() -> None:
    done = subprocess.run(
        ["docker-compose", "-f", str(COMPOSE), "config"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"127.0.0.1:27017:27017/tcp" in done.stdout


def test_names_the_address_it_publishes() -> None:
    text = COMPOSE.read_text()
    assert "mongodb://127.0.0.1:27017/?replicaSet=rs0" in text
    assert "'127.0.0.1:27017'" in text
    assert "NotYetInitialized" in text
