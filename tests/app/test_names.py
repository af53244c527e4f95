"""Names outside ASCII, in all commands and in the programs that read their output."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.command import run_command

_MARKET = "币安人生USDT"
_BOOK = '{"lastUpdateId":100,"bids":[["99.0","1.0"]],"asks":[["101.0","2.0"]]}'
_EVENT = (
    '{{"stream":"{name}@depth@100ms","data":{{"e":"depthUpdate","E":1767225600{n}00,'
    '"s":"{market}","U":10{n},"u":10{n},"b":[["99.0","{n}.0"]],"a":[]}}}}'
)


def _collected(path: Path) -> Path:
    lines = [f"1767225600000000000 {_BOOK}"]
    for n in range(1, 6):
        text = _EVENT.format(name=_MARKET.lower(), market=_MARKET, n=n)
        lines.append(f"1767225600{n}00000000 {text}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_every_command_takes_any_listed_name(
    joined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    spelt = _MARKET.encode(encoding, "backslashreplace").decode(encoding)
    done = run_command(joined, "import", str(_collected(tmp_path / f"{_MARKET}.jsonl")))
    assert done.returncode == 0, done.stderr
    # Some libraries take an ASCII terminal for a mistake, and write UTF-8.
    assert done.stdout.startswith((spelt, _MARKET))
    csv = tmp_path / f"{_MARKET}.csv"
    for form, path in (("tardis", csv), ("parquet", tmp_path / f"{_MARKET}.parquet")):
        done = run_command(joined, "export", _MARKET, "--format", form, "-o", str(path))
        assert done.returncode == 0, done.stderr
        assert path.exists()
    for command in (["recordings"], ["recordings", "--json"], ["verify", _MARKET]):
        done = run_command(joined, *command)
        assert done.returncode == 0, done.stderr
    elsewhere = ("--db-name", f"elsewhere_{encoding}")
    done = run_command(joined, "import", str(csv), *elsewhere)
    assert done.returncode == 0, done.stderr
    assert run_command(joined, "verify", _MARKET, *elsewhere).returncode == 0
