"""Options derive from the settings' declaration, and count only after their command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from orderbook_desktop.app.options import with_settings
from orderbook_desktop.app.secrets_given import SecretOnCommandLine
from orderbook_desktop.app.settings import BadSetting, Settings

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
@with_settings()
def whole(
    settings: Settings, context: typer.Context, loud: Annotated[bool, typer.Option()] = False
) -> None:
    typer.echo(f"whole {settings.symbol} {settings.buffer_mb} {loud}")


@app.command()
@with_settings("db_name")
def part(settings: Settings, times: Annotated[int, typer.Argument()]) -> None:
    typer.echo(f"part {settings.db_name} {times}")


@app.command()
@with_settings("mongo_dsn")
def dsn(settings: Settings) -> None:
    typer.echo(settings.mongo_dsn)


def _run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.strip()


def test_a_command_gets_settings_and_its_own_parameters() -> None:
    assert _run("--symbol", "solusdt", "--buffer-mb", "7", "--loud") == "whole SOL/USDT 7 True"
    assert _run("part", "3", "--db-name", "mine") == "part mine 3"


def test_without_an_option_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_NAME", "other")
    assert _run("part", "3") == "part other 3"


def test_every_setting_is_an_option_with_its_variable() -> None:
    text = _run("--help").replace("\n", "")
    for name in Settings.model_fields:
        if name != "web_token":
            assert Settings.option(name) in text
    assert "--token " not in text
    assert "mongo|direct" in text


def test_only_the_chosen_settings_are_options() -> None:
    text = _run("part", "--help")
    assert "--db-name" in text
    assert "--symbol" not in text


def test_a_value_is_checked_by_the_declaration() -> None:
    with pytest.raises(BadSetting, match=r"^--buffer-mb is 'x'"):
        _run("--buffer-mb", "x")


def test_an_option_before_the_command_is_refused() -> None:
    done = CliRunner().invoke(app, ["--db-name", "mine", "part", "3"])
    assert done.exit_code == 2
    assert "--db-name has no effect before part" in done.output


@pytest.mark.parametrize(
    ("option", "value", "variable"),
    [
        ("--token", "t" * 20, "ORDERBOOK_WEB_TOKEN"),
        ("--token", "", "ORDERBOOK_WEB_TOKEN"),
        ("--mongo-dsn", "mongodb://me:s3cret@host/", "MONGO_DSN"),
        ("--mongo-dsn", "mongodb+srv://me:pa/ss@host/", "MONGO_DSN"),
        ("--mongo-dsn", "me:s3cret@host", "MONGO_DSN"),
        ("--mongo-dsn", "mongodb://host/?tls=true&tlsCertificateKeyFilePassword=x", "MONGO_DSN"),
        (
            "--mongo-dsn",
            "mongodb://host/?authMechanismProperties=AWS_SESSION_TOKEN:x",
            "MONGO_DSN",
        ),
    ],
)
def test_a_secret_is_refused_on_the_command_line(option: str, value: str, variable: str) -> None:
    with pytest.raises(SecretOnCommandLine) as caught:
        _run(option, value)
    text = str(caught.value)
    assert text.startswith(f"{option} would show its secret")
    assert f"set {variable} instead, or name its file with {option}-file." in text
    assert not value or value not in text


@pytest.mark.parametrize(
    "dsn", ["mongodb://host/", "mongodb://me@host/?authMechanism=MONGODB-X509", "mongodb://[::1]:1"]
)
def test_an_address_without_a_password_is_taken(dsn: str) -> None:
    assert _run("--mongo-dsn", dsn).startswith("whole ")


def test_a_command_that_takes_a_secret_takes_its_file(tmp_path: Path) -> None:
    held = tmp_path / "dsn"
    held.write_text("mongodb://me:s3cret@host/\n")
    held.chmod(0o600)
    assert _run("dsn", "--mongo-dsn-file", str(held)) == "mongodb://me:s3cret@host/"


def test_a_wrong_variable_does_not_hide_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV", "nonsense")
    assert "--db-name" in _run("part", "--help")
