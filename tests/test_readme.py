"""The README says what the program says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from orderbook_desktop.app.cli import cli
from orderbook_desktop.app.settings import settings_table

_ROOT = Path(__file__).parents[1]
_README = (_ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_settings_is_the_declaration() -> None:
    assert settings_table() in _README


def test_every_command_is_explained() -> None:
    commands = get_command(cli).commands  # type: ignore[attr-defined]
    for name in commands:
        assert f"`orderbook-desktop {name}" in _README, name


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", _README))
def test_every_link_into_the_project_leads_somewhere(link: str) -> None:
    assert (_ROOT / link).exists()
