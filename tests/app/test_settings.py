"""The settings' declaration: defaults, environment, command line, refusals, README's table."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderbook_desktop.app.settings import (
    BadSetting,
    Environment,
    NoHomeFolder,
    Settings,
    load_settings,
    settings_table,
)
from orderbook_desktop.core.status import SourceKind

_README = Path(__file__).parents[2] / "README.md"


def test_defaults_are_those_of_the_design(fresh_user: Path) -> None:
    settings = load_settings()
    assert settings.symbol == "BTC/USDT"
    assert settings.mongo_dsn == ""
    assert settings.db_name == "book"
    assert settings.env is Environment.PRODUCTION
    assert settings.rest_url == "https://data-api.binance.vision"
    assert settings.ws_url == "wss://data-stream.binance.vision"
    assert settings.source is SourceKind.MONGO
    assert settings.data_dir.is_relative_to(fresh_user)


def test_the_variables_are_those_of_the_design() -> None:
    variables = {Settings.variable(name) for name in Settings.model_fields}
    plain = {"SYMBOL", "MONGO_DSN", "MONGO_DSN_FILE", "DB_NAME", "ENV"}
    assert plain <= variables
    others = variables - plain
    assert all(variable.startswith("ORDERBOOK_") for variable in others)


def test_the_environment_beats_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMBOL", "ethusdt")
    monkeypatch.setenv("ORDERBOOK_SOURCE", "direct")
    settings = load_settings()
    assert settings.symbol == "ETH/USDT"
    assert settings.source is SourceKind.DIRECT


def test_the_command_line_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMBOL", "ETH/USDT")
    assert load_settings(symbol="SOL/USDT").symbol == "SOL/USDT"


def test_a_default_was_not_given_and_everything_else_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMBOL", "ETH/USDT")
    monkeypatch.setenv("DB_NAME", "")
    settings = load_settings(source="mongo", env=None)
    assert settings.given("symbol")
    assert settings.given("source")
    assert not settings.given("db_name")
    assert not settings.given("env")


def test_a_folder_is_absolute_and_its_tilde_is_home(fresh_user: Path) -> None:
    assert load_settings(data_dir="~/books").data_dir == fresh_user / "books"
    assert load_settings(data_dir="books").data_dir == Path.cwd() / "books"


def test_an_address_loses_its_last_slash() -> None:
    assert load_settings(rest_url="http://127.0.0.1:8900/").rest_url == "http://127.0.0.1:8900"


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("symbol", "BTC//USDT", "a spot symbol such as BTC/USDT"),
        ("symbol", "", "a spot symbol such as BTC/USDT"),
        ("mongo_dsn", "localhost:27017", "empty, or an address that begins with mongodb://"),
        ("db_name", "a.b", "letters, digits, _ and -, at most 58"),
        ("db_name", "x" * 59, "letters, digits, _ and -, at most 58"),
        ("db_name", "größe", "letters, digits, _ and -, at most 58"),
        ("db_name", "admin", "and not admin, config or local"),
        ("env", "test", "production or development"),
        ("rest_url", "data-api.binance.vision", "an address that begins with http:// or https://"),
        ("rest_url", "https://", "an address that begins with http:// or https://"),
        ("rest_url", "http://host:port", "an address that begins with http:// or https://"),
        ("rest_url", "http://[::1", "an address that begins with http:// or https://"),
        ("rest_url", "http://host/?a=b", "without user name, query and fragment"),
        ("ws_url", "https://host", "an address that begins with ws:// or wss://"),
        ("data_dir", "", "a folder"),
        ("data_dir", "~no-user-of-that-name/x", "a folder"),
        ("source", "web", "mongo or direct"),
        ("buffer_mb", "0", "a whole number from 1 to 4096"),
        ("buffer_mb", "4097", "a whole number from 1 to 4096"),
        ("buffer_mb", "1.5", "a whole number from 1 to 4096"),
        ("buffer_mb", "much", "a whole number from 1 to 4096"),
        ("retention_days", "-1", "a whole number from 0 to 36500"),
        ("retention_days", "1.5", "a whole number from 0 to 36500"),
        ("retention_gb", "-0.1", "a number from 0 to 1000000"),
        ("retention_gb", "nan", "a number from 0 to 1000000"),
        ("low_disk_gb", "all", "a number from 0 to 1000000"),
        ("web_proxy", "172.18.0.0/99", "an address or network such as 172.18.0.0/16"),
        ("web_token_file", "", "a file"),
    ],
)
def test_a_wrong_value_is_named_in_one_sentence(name: str, value: str, accepted: str) -> None:
    with pytest.raises(BadSetting) as caught:
        load_settings(**{name: value})
    text = str(caught.value)
    assert text.startswith(f"{Settings.option(name)} is '")
    assert value in text
    assert accepted in text
    assert text.endswith(".")
    assert "\n" not in text


def test_a_wrong_variable_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERBOOK_BUFFER_MB", "many")
    with pytest.raises(BadSetting, match=r"^ORDERBOOK_BUFFER_MB is 'many', but must be a whole"):
        load_settings()


@pytest.mark.parametrize("name", ["mongo_dsn", "rest_url", "ws_url"])
@pytest.mark.parametrize("value", ["me:s3cret@host", "ftp://me:s3cret@host", "wss://me:s3cret@h"])
def test_a_refused_value_shows_no_password(name: str, value: str) -> None:
    with pytest.raises(BadSetting) as caught:
        load_settings(**{name: value})
    assert "s3cret" not in str(caught.value)
    # A traceback would show the password through pydantic's error.
    assert caught.value.__suppress_context__


def test_a_refused_token_is_not_shown() -> None:
    with pytest.raises(BadSetting, match=r"but must be ") as caught:
        load_settings(web_token="short")
    assert "short" not in str(caught.value)


def test_settings_show_no_password() -> None:
    assert "s3cret" not in repr(load_settings(mongo_dsn="mongodb://me:s3cret@host"))


def test_the_table_has_a_row_for_each_setting() -> None:
    rows = settings_table().splitlines()[2:]
    assert len(rows) == len(Settings.model_fields)
    for row, (name, field) in zip(rows, Settings.model_fields.items(), strict=True):
        option = "" if name == "web_token" else f"`{Settings.option(name)}`"
        assert row.startswith(f"| `{Settings.variable(name)}` | {option} | ")
        assert str(field.description) in row
    assert "It is `mongo` or `direct`." in settings_table()
    assert str(Path.home()) not in settings_table()


def test_readme_has_the_table() -> None:
    assert settings_table() in _README.read_text(encoding="utf-8")


def test_a_user_without_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a folder of the name `~` would be made wherever the program is started."""
    for name in ("HOME", "USERPROFILE", "XDG_DATA_HOME", "WIN_PD_OVERRIDE_LOCAL_APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_names, **_options: "~/.local/share")
    with pytest.raises(NoHomeFolder, match=r"no home folder .*ORDERBOOK_DATA_DIR"):
        load_settings()
    assert load_settings(data_dir="/data").data_dir == Path("/data")
