"""The compose file for a MongoDB is valid, private, and initiates itself."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.storage.processes import ROOT

COMPOSE = ROOT / "docker-compose.mongo.yml"

needs_compose = pytest.mark.skipif(
    shutil.which("docker-compose") is None, reason="there is no docker-compose"
)


def test_is_valid_by_the_compose_specification() -> None:
    checker = [sys.executable, "-m", "check_jsonschema"]
    schema = ["--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*checker, *schema, str(COMPOSE)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()


def config(*options: str) -> subprocess.CompletedProcess[str]:
    command = ["docker-compose", *options, "-f", str(COMPOSE), "config"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def password_file(folder: Path) -> Path:
    """Let the script make a password, as README tells people to."""
    file = folder / ".env"
    script = ROOT / "packaging" / "mongo_password.sh"
    subprocess.run(["sh", str(script), str(file)], capture_output=True, check=True)
    return file


@needs_compose
def test_is_understood_by_docker_compose(tmp_path: Path) -> None:
    file = password_file(tmp_path)
    password = file.read_text().partition("\n")[0].partition("=")[2]
    done = config("--env-file", str(file), "--profile", "app")
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:27017:27017/tcp" in done.stdout
    assert f"MONGO_INITDB_ROOT_PASSWORD: {password}" in done.stdout
    assert done.stdout.count(f"mongodb://orderbook:{password}@mongo:27017/") == 2


@needs_compose
def test_without_a_password_it_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    done = config("--env-file", str(tmp_path / "empty"))
    assert done.returncode != 0
    assert "sh packaging/mongo_password.sh makes one" in done.stderr


def test_the_server_asks_for_the_password() -> None:
    mongo = YAML(typ="safe").load(COMPOSE)["services"]["mongo"]
    assert mongo["environment"]["MONGO_INITDB_ROOT_USERNAME"] == "orderbook"
    # Without the key of the members MongoDB accepts every client, even if it has users.
    assert "--keyFile" in mongo["command"]
    key = mongo["command"][mongo["command"].index("--keyFile") + 1]
    assert f"> {key}" in mongo["entrypoint"][2]
    assert "--noauth" not in mongo["command"]
    assert [port.startswith("127.0.0.1:") for port in mongo["ports"]] == [True]
    # Other users of the computer can read the command lines of a container, too.
    assert not any("MONGO_PASSWORD" in part for part in mongo["command"])
    assert not any("MONGO_PASSWORD" in part for part in mongo["healthcheck"]["test"])
    assert not any(part in {"-p", "--password"} for part in mongo["healthcheck"]["test"])


def test_the_key_of_the_members_is_one_that_mongodb_takes() -> None:
    """6 to 1,024 characters of base64, readable for its owner alone."""
    mongo = YAML(typ="safe").load(COMPOSE)["services"]["mongo"]
    made = mongo["entrypoint"][2].partition(" > ")[0]
    script = made.partition("umask 077; ")[2]
    assert script
    key = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"[A-Za-z0-9+/=]{6,1024}", key)


@pytest.mark.skipif(sys.platform == "win32", reason="files of Windows have no such mode")
def test_the_password_is_made_once_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SYMBOLS=BTC/USDT\n")
    file.chmod(0o644)
    first = password_file(tmp_path).read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    settings = dict(line.split("=", 1) for line in first.splitlines())
    assert settings["SYMBOLS"] == "BTC/USDT"
    assert re.fullmatch(r"[0-9a-f]{48}", settings["MONGO_PASSWORD"])
    dsn = f"mongodb://orderbook:{settings['MONGO_PASSWORD']}@127.0.0.1:27017/?replicaSet=rs0"
    assert settings["MONGO_DSN"] == dsn
    file.chmod(0o644)
    assert password_file(tmp_path).read_text() == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    other = tmp_path / "other"
    other.mkdir()
    assert password_file(other).read_text() != first


def test_the_password_stays_out_of_git_and_of_the_image() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    ignored = (ROOT / "packaging" / "Containerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert "!.env" not in ignored


def test_names_the_address_it_publishes() -> None:
    text = COMPOSE.read_text()
    assert "'127.0.0.1:27017'" in text
    assert "NotYetInitialized" in text
