"""Fixtures of the tests of the storage."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.storage.processes import ROOT


@pytest.fixture
def mongod_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts a `mongod` on the PATH which behaves as its argument says."""
    if sys.platform == "win32":
        pytest.skip("the fake mongod is a shell script")

    def put(behaviour: str) -> None:
        script = tmp_path / "bin" / "mongod"
        script.parent.mkdir(exist_ok=True)
        fake = f"cd {shlex.quote(str(ROOT))} && exec {shlex.quote(sys.executable)}"
        script.write_text(f'#!/bin/sh\n{fake} -m tests.storage.fake_mongod "$@"\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(script.parent), prepend=":")
        monkeypatch.setenv("FAKE_MONGOD", behaviour)

    return put
