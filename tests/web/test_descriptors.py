"""Connections never take the descriptors that the rest of the program needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")

_SCRIPT = """
import resource, sys
from orderbook_desktop.web.descriptors import room_for
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(room_for(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "given", "soft_after"),
    [
        (256, 1024, 500, 500, 700),
        (256, 1024, 1500, 824, 1024),
        (1000, 1024, 500, 500, 1000),
        (100, 100, 500, 1, 100),
    ],
)
def test_the_system_is_asked_for_as_many_as_there_may_be(
    soft: int, hard: int, wanted: int, given: int, soft_after: int
) -> None:
    command = [sys.executable, "-c", _SCRIPT, *map(str, (soft, hard, wanted))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [int(number) for number in done.stdout.split()] == [given, soft_after, hard]
