"""Proves that each guard of `conftest.py` fails the tests that it is there to fail."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_GUILTY = Path(__file__).parent / "guilty"

# The test, and what its failure says; an empty text is an innocent one, which passes.
_VERDICTS = {
    "test_leaves_a_task": "tasks left",
    "test_leaves_a_task_on_qt": "tasks left",
    "test_leaves_a_thread": "threads left",
    "test_leaves_a_process": "child processes left",
    "test_leaves_a_socket": "ResourceWarning",
    "test_forgets_to_await": "never awaited",
    "test_raises_in_a_destructor": "PytestUnraisableExceptionWarning",
    "test_raises_in_a_thread": "exited by an exception",
    "test_raises_in_a_slot": "raised in a slot",
    "test_warns": "UserWarning",
    "test_logs_a_warning": "unexpected log records",
    "test_logs_less_than_announced": "is missing",
    "test_loses_the_exception_of_a_task": "unexpected log records",
    "test_qt_warns": "Qt messages",
    "test_connects_elsewhere": "tried to reach 192.0.2.1",
    "test_asks_for_another_name": "tried to reach exchange.invalid",
    "test_is_clean": "",
    "test_is_clean_on_qt": "",
    "test_sees_no_settings": "",
    "test_logs_as_announced": "",
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run the guilty tests under the project's own configuration; return what each was told."""
    folder = tmp_path_factory.mktemp("guilty")
    for source in _GUILTY.glob("*.txt"):
        target = folder / source.stem / f"test_{source.stem}.py"
        target.parent.mkdir()
        target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    # What is left need not be waited for as long as what only is slow to end.
    (folder / "conftest.py").write_text("from tests import leaks\n\nleaks._GRACE_S = 2.0\n")
    report = folder / "report.xml"
    options = ["-c", "pyproject.toml", f"--rootdir={folder}", "-p", "tests.conftest", "-n", "0"]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--junit-xml={report}", folder],
        cwd=_ROOT,
        capture_output=True,
        check=False,
    )
    told: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        # A test that passes and then fails its clean-up is reported twice.
        texts = [f"{note.get('message')}\n{note.text}" for note in case]
        told[case.attrib["name"]] = told.get(case.attrib["name"], "") + "\n".join(texts)
    return told


def test_every_guilty_test_has_a_verdict(verdicts: dict[str, str]) -> None:
    assert verdicts.keys() == _VERDICTS.keys()


@pytest.mark.parametrize("name", _VERDICTS)
def test_guard(verdicts: dict[str, str], name: str) -> None:
    if _VERDICTS[name]:
        assert _VERDICTS[name] in verdicts[name]
    else:
        assert not verdicts[name]
