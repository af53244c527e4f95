from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from orderbook_desktop.app.commands.times import FromTime, ToTime, parse_time
from orderbook_desktop.core.time_text import time_text

_MS = 1_723_113_000_123  # 2024-08-08 10:30:00.123 UTC


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "event_ms"),
    [
        ("1723113000123", _MS),
        ("2024-08-08T10:30:00.123Z", _MS),
        ("2024-08-08T10:30:00.123456+00:00", _MS),
        (" 2024-08-08 12:30:00.123+02:00 ", _MS),
        ("1970-01-01T00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_times_that_say_their_zone(text: str, event_ms: int) -> None:
    assert parse_time(text) == event_ms


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone is the computer's")
def test_times_without_a_zone_are_local(in_berlin: None) -> None:
    assert parse_time("2024-08-08T12:30:00.123") == _MS
    assert parse_time("2024-08-08") == parse_time("20240808") == 1_723_068_000_000
    assert parse_time("2024-01-08T11:30") == parse_time("2024-01-08T10:30Z")
    assert time_text(_MS) == "2024-08-08 12:30:00.123+02:00"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2024",
        "1723113000",
        "2024-13-01",
        "-1723113000123",
        "12:30",
        "\N{FULLWIDTH DIGIT ONE}" * 13,
    ],
)
def test_an_invalid_time_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="ISO 8601 time such as"):
        parse_time(text)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone is the computer's")
@pytest.mark.parametrize("text", ["2024-10-27T02:30", "2024-03-31 02:30:00"])
def test_a_local_time_that_is_there_twice_or_never_needs_an_offset(
    in_berlin: None, text: str
) -> None:
    with pytest.raises(typer.BadParameter, match="twice, or never: add its offset"):
        parse_time(text)
    assert parse_time(f"{text}+02:00") == parse_time(f"{text}+01:00") - 3_600_000
    assert parse_time("2024-10-27T03:00") == parse_time("2024-10-27T02:00Z")


@given(st.integers(-(2**41), 2**45))
def test_a_shown_time_can_be_typed(event_ms: int) -> None:
    assert parse_time(time_text(event_ms)) == event_ms


def test_options_on_a_command_line() -> None:
    app = typer.Typer()

    @app.command()
    def show(from_ms: FromTime = None, to_ms: ToTime = None) -> None:
        typer.echo(f"{from_ms} {to_ms}")

    runner = CliRunner()
    assert runner.invoke(app, ["--from", "2024-08-08T10:30:00.123Z"]).output == f"{_MS} None\n"
    refused = runner.invoke(app, ["--to", "soon"])
    assert refused.exit_code == 2
    assert "'soon' is not" in refused.output
