"""The settings, each declared once.

The environment variables, the command-line options and the README's table derive from the
declarations. A value on the command line goes before the environment variable, and that goes
before what the window remembers.
"""

from __future__ import annotations

import ipaddress
import re
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import AfterValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from orderbook_desktop.app.secrets_given import SecretGivenTwice, read_secret
from orderbook_desktop.core.disk import Retention
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.foreign_text import quoted
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.storage.dsn import holds_secret, redacted_dsn

APP_NAME: Final = "orderbook-desktop"

# A server's limit is 63 bytes; the demo appends five characters.
_LONGEST_NAME: Final = 58
_SERVER_DATABASES: Final = ("admin", "config", "local")
_SYMBOL: Final = "a spot symbol such as BTC/USDT"


class Environment(Enum):
    """How much the program logs."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"


class Switch(Enum):
    """Whether the program does something."""

    ON = "on"
    OFF = "off"


def _symbol(text: str) -> str:
    try:
        return split_symbol(text)[0]
    except ValueError as error:
        raise ValueError(_SYMBOL) from error


def _address(*schemes: str) -> AfterValidator:
    accepted = (
        f"an address that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}, "
        "without user name, query and fragment"
    )

    def check(text: str) -> str:
        try:
            parts = urlsplit(text.strip())
            usable = parts.scheme in schemes and parts.hostname and parts.port != 0
        except ValueError as error:  # Such as a port that is no number, or an open bracket.
            raise ValueError(accepted) from error
        if not usable or parts.username is not None or parts.query or parts.fragment:
            raise ValueError(accepted)
        return text.strip().rstrip("/")

    return AfterValidator(check)


def _dsn(text: str) -> str:
    if text and not text.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("empty, or an address that begins with mongodb:// or mongodb+srv://")
    return text


def _database_name(text: str) -> str:
    plain = text.replace("_", "").replace("-", "")
    fits = len(text) <= _LONGEST_NAME and plain.isascii() and plain.isalnum()
    if not fits or text.lower() in _SERVER_DATABASES:
        raise ValueError(
            f"letters, digits, _ and -, at most {_LONGEST_NAME}, and not admin, config or local"
        )
    return text


def _folder(path: Path) -> Path:
    if path == Path():
        raise ValueError("a folder")
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError("a folder (its ~ names an unknown user)") from error


def _file(path: Path | None) -> Path | None:
    if path == Path():
        raise ValueError("a file")
    try:
        return path and path.expanduser()
    except RuntimeError as error:
        raise ValueError("a file (its ~ names an unknown user)") from error


class NoHomeFolder(KnownError):
    """The system knows no home folder of the user, as of one that a container made up."""

    def __str__(self) -> str:
        return (
            "This user has no home folder to keep data in; name a folder with ORDERBOOK_DATA_DIR."
        )


def _usual_folder() -> Path:
    """Return the user's data folder; raises `NoHomeFolder`."""
    folder = Path(platformdirs.user_data_dir(APP_NAME, appauthor=False))
    if not folder.is_absolute():  # It begins with a ~ then, which would be made here.
        raise NoHomeFolder
    return folder


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", text):
        raise ValueError("an address of this computer, such as 127.0.0.1 or 0.0.0.0")
    return text


def _token(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9_-]{16,128}", text):
        raise ValueError("empty, or 16 to 128 letters, digits, - and _")
    return text


def _network(text: str) -> str:
    if text:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise ValueError("empty, or an address or network such as 172.18.0.0/16") from error
    return text


class Settings(BaseSettings):
    """All settings. Raises pydantic's `ValidationError`."""

    model_config = SettingsConfigDict(
        extra="ignore", env_ignore_empty=True, case_sensitive=True, frozen=True
    )

    symbol: Annotated[str, AfterValidator(_symbol)] = Field(
        "BTC/USDT",
        validation_alias="SYMBOL",
        description="Spot symbol that the window shows first.",
    )
    mongo_dsn: Annotated[str, AfterValidator(_dsn)] = Field(
        "",
        validation_alias="MONGO_DSN",
        description="MongoDB server with the recordings. Empty: the program's own server.",
        repr=False,
    )
    mongo_dsn_file: Annotated[Path | None, AfterValidator(_file)] = Field(
        None,
        validation_alias="MONGO_DSN_FILE",
        description="File that holds `MONGO_DSN`, for an address with a password.",
        json_schema_extra={"holds": "mongo_dsn"},
    )
    db_name: Annotated[str, AfterValidator(_database_name)] = Field(
        "book", validation_alias="DB_NAME", description="Database on that server."
    )
    env: Environment = Field(
        Environment.PRODUCTION,
        validation_alias="ENV",
        description="How much is logged; development logs everything, also on the terminal.",
    )
    rest_url: Annotated[str, _address("http", "https")] = Field(
        "https://data-api.binance.vision",
        validation_alias="ORDERBOOK_REST_URL",
        description="Base address of the exchange's REST interface.",
    )
    ws_url: Annotated[str, _address("ws", "wss")] = Field(
        "wss://data-stream.binance.vision",
        validation_alias="ORDERBOOK_WS_URL",
        description="Base address of the exchange's websocket streams.",
    )
    data_dir: Annotated[Path, AfterValidator(_folder)] = Field(
        default_factory=_usual_folder,
        validation_alias="ORDERBOOK_DATA_DIR",
        description="Folder of the program's own database, the logs and the window's memory.",
    )
    source: SourceKind = Field(
        SourceKind.MONGO,
        validation_alias="ORDERBOOK_SOURCE",
        description="What is shown: the recorded book, or the exchange's own.",
    )
    buffer_mb: Annotated[int, Field(ge=1, le=4096)] = Field(
        128,
        validation_alias="ORDERBOOK_BUFFER_MB",
        description="Memory (MB) for events that wait while the database is away.",
    )
    connections: Annotated[int, Field(ge=0, le=4)] = Field(
        0,
        validation_alias="ORDERBOOK_CONNECTIONS",
        description="By how many connections each event comes, so that the loss of one is no gap."
        " 0: two where `record` records 200 symbols or fewer, else one.",
    )
    trades: Switch = Field(
        Switch.ON,
        validation_alias="ORDERBOOK_TRADES",
        description="Whether trades are shown and recorded, beside the book.",
    )
    retention_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        0,
        validation_alias="ORDERBOOK_RETENTION_DAYS",
        description="Age (days) above which recordings are removed; 0: no limit.",
    )
    retention_gb: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        0,
        validation_alias="ORDERBOOK_RETENTION_GB",
        description="Size (GB) above which the oldest recordings are removed; 0: no limit.",
    )
    tiles_gb: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        2,
        validation_alias="ORDERBOOK_TILES_GB",
        description="Size (GB) that the heatmap's tiles may take, a cache beside the recordings;"
        " 0: none are kept.",
    )
    low_disk_gb: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        2,
        validation_alias="ORDERBOOK_LOW_DISK_GB",
        description="Free disk space (GB) below which there is a warning; at a quarter of it"
        " recording pauses. 0: neither.",
    )
    web_host: Annotated[str, AfterValidator(_host)] = Field(
        "127.0.0.1",
        validation_alias="ORDERBOOK_WEB_HOST",
        description="Address that the browser view listens on; 0.0.0.0: all addresses.",
        json_schema_extra={"option": "--host"},
    )
    web_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8000,
        validation_alias="ORDERBOOK_WEB_PORT",
        description="Port of the browser view; 0: any free port.",
        json_schema_extra={"option": "--port"},
    )
    web_token: Annotated[str, AfterValidator(_token)] = Field(
        "",
        validation_alias="ORDERBOOK_WEB_TOKEN",
        description="Secret in viewers' links. Empty: a new secret each time the browser view"
        " opens to other computers.",
        json_schema_extra={"option": "--token", "secret": True},
        repr=False,
    )
    web_token_file: Annotated[Path | None, AfterValidator(_file)] = Field(
        None,
        validation_alias="ORDERBOOK_WEB_TOKEN_FILE",
        description="File that holds `ORDERBOOK_WEB_TOKEN`.",
        json_schema_extra={"option": "--token-file", "holds": "web_token"},
    )
    web_proxy: Annotated[str, AfterValidator(_network)] = Field(
        "",
        validation_alias="ORDERBOOK_WEB_PROXY",
        description="Address or network of an https proxy in front of the browser view."
        " A proxy on this computer need not be named.",
    )

    @property
    def follows_trades(self) -> bool:
        """Whether trades are followed, and recorded where the book is."""
        return self.trades is Switch.ON

    @property
    def database_dir(self) -> Path:
        """Folder of the files of the program's own database."""
        return self.data_dir / "database"

    @property
    def other_exchange(self) -> str:
        """The host of the first exchange address that isn't the default, or empty."""
        for name, address in (("rest_url", self.rest_url), ("ws_url", self.ws_url)):
            if address != type(self).model_fields[name].default:
                return urlsplit(address).netloc
        return ""

    @property
    def usual_symbol(self) -> str:
        """The symbol that is shown by default."""
        return str(type(self).model_fields["symbol"].default)

    def with_retention(self, retention: Retention) -> Self:
        """Return these settings with `retention`."""
        fields = {"retention_days": retention.days, "retention_gb": retention.gigabytes}
        return self.model_copy(update=fields)

    def with_connections(self, connections: int) -> Self:
        """Return these settings with each event coming by so many `connections`."""
        return self.model_copy(update={"connections": connections})

    def with_exchange(self, rest_url: str, ws_url: str, db_name: str) -> Self:
        """Return these settings with another exchange and the database for its recordings."""
        fields = {"rest_url": rest_url, "ws_url": ws_url, "db_name": db_name}
        return self.model_copy(update=fields)

    @classmethod
    def variable(cls, name: str) -> str:
        """Return the environment variable of the field `name`."""
        return str(cls.model_fields[name].validation_alias)

    @classmethod
    def option(cls, name: str) -> str:
        """Return the command-line option of the field `name`."""
        return str(cls.declared(name).get("option", "--" + name.replace("_", "-")))

    @classmethod
    def is_secret(cls, name: str, value: str = "") -> bool:
        """Whether `value` of the field `name` is a secret, which the command line must not hold."""
        if name == "mongo_dsn":
            return holds_secret(value)
        return bool(cls.declared(name).get("secret"))

    @classmethod
    def file_of(cls, name: str) -> str | None:
        """Return the field that names a file with the value of the field `name`, or None."""
        fields = cls.model_fields
        return next((field for field in fields if cls.declared(field).get("holds") == name), None)

    @classmethod
    def declared(cls, name: str) -> dict[str, Any]:
        """Return the declaration's extra entries for the field `name`."""
        extra = cls.model_fields[name].json_schema_extra
        return dict(extra) if isinstance(extra, dict) else {}

    @property
    def secret_files(self) -> list[Path]:
        """The files that hold secrets."""
        names = filter(None, map(self.file_of, type(self).model_fields))
        return [path for name in names if (path := getattr(self, name)) is not None]

    def given(self, name: str) -> bool:
        """Whether the command line or the environment set the field `name`."""
        return name in self.model_fields_set


class BadSetting(KnownError):
    """A setting has a value that isn't accepted."""

    setting: str
    value: str
    accepted: str

    def __str__(self) -> str:
        return f"{self.setting} is {quoted(self.value)}, but must be {self.accepted}."


def listening_address(typed: str, setting: str) -> str:
    """Return `typed`, an address to listen on; raises `BadSetting` where it can be none."""
    try:
        return _host(typed)
    except ValueError as error:
        raise BadSetting(setting, typed, str(error)) from error


def symbol_and_market(typed: str, setting: str = "SYMBOL") -> tuple[str, str]:
    """Return the symbol (BTC/USDT) and the market (BTCUSDT) of `typed`; raises `BadSetting`."""
    try:
        return split_symbol(typed)
    except ValueError as error:
        raise BadSetting(setting, typed, _SYMBOL) from error


def load_settings(**overrides: Any) -> Settings:
    """Return the settings; `overrides` are the command line's values, None for absent options.

    Raises `BadSetting` for the first value that isn't accepted. Raises `BadSecret` if the file
    of a secret can't be used, or if a secret is given twice.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    sources = {name: Settings.option(name) for name in given}
    settings = _validated(given, sources)
    for file_name, value in _values_in_files(settings, given).items():
        name = str(Settings.declared(file_name)["holds"])
        given[name] = value
        sources[name] = f"The content of {getattr(settings, file_name)}"
        settings = _validated(given, sources)
    return settings


def _validated(given: dict[str, Any], sources: dict[str, str]) -> Settings:
    try:
        return Settings(**{Settings.variable(name): value for name, value in given.items()})
    except ValidationError as error:
        # Not chained: pydantic's text shows the value, which may hold a password.
        raise _bad_setting(error, sources) from None


def _values_in_files(settings: Settings, on_command_line: dict[str, Any]) -> dict[str, str]:
    """Return the secrets in files, by the setting that names the file.

    A file is left out if the command line gives the secret's value and no file. Raises
    `SecretGivenTwice` if both come from the command line, or both from the environment.
    """
    found = {}
    for name in Settings.model_fields:
        file_name = Settings.file_of(name)
        path: Path | None = getattr(settings, file_name) if file_name else None
        if file_name is None or path is None:
            continue
        file_setting, value_setting = (
            (Settings.option if field in on_command_line else Settings.variable)(field)
            for field in (file_name, name)
        )
        if (name in on_command_line) != (file_name in on_command_line):
            if name in on_command_line:
                continue
        elif settings.given(name):
            raise SecretGivenTwice(value_setting, file_setting)
        found[file_name] = read_secret(file_setting, path)
    return found


def _bad_setting(error: ValidationError, sources: dict[str, str]) -> BadSetting:
    first = error.errors()[0]
    variable = str(first["loc"][0])
    name = next(field for field in Settings.model_fields if Settings.variable(field) == variable)
    shown = "…" if Settings.is_secret(name) else redacted_dsn(str(first["input"]))
    return BadSetting(sources.get(name, variable), shown, _accepted(name, first))


def _accepted(name: str, error: Any) -> str:
    field = Settings.model_fields[name]
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if field.annotation in (int, float):
        lower, upper = field.metadata
        kind = "whole number" if field.annotation is int else "number"
        return f"a {kind} from {lower.ge} to {upper.le}"
    return " or ".join(_choices(field.annotation)) or str(error["msg"])


def settings_table() -> str:
    """Return the README's table of settings, in Markdown."""
    rows = ["| variable | option | default | what it sets |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        choices = " or ".join(f"`{choice}`" for choice in _choices(field.annotation))
        text = f"{field.description} It is {choices}." if choices else f"{field.description}"
        # A secret has no option that the README could offer.
        option = "" if Settings.is_secret(name) else f"`{Settings.option(name)}`"
        rows.append(f"| `{Settings.variable(name)}` | {option} | {_default(field)} | {text} |")
    return "\n".join(rows)


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "the user's data folder"
    default = field.default.value if isinstance(field.default, Enum) else field.default
    return f"`{default}`" if default not in ("", None) else "(empty)"


def _choices(annotation: Any) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(choice.value) for choice in annotation]
    return []
