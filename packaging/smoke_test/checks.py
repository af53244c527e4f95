"""The checks of the smoke test."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import psutil
from display import Screen

from orderbook_desktop.exchange.local.synthetic import write_capture
from orderbook_desktop.system.ports import private_port

_NAME: Final = "orderbook-desktop"
_SYMBOL: Final = "BTC/USDT"
_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.05
_RECORD_S: Final = 5
# The ending of each export's file name, and its first bytes.
_EXPORTS: Final = {
    "tardis": ("csv.gz", b"\x1f\x8b"),
    "parquet": ("parquet", b"PAR1"),
    "hftbacktest": ("npz", b"PK"),
}
_ON_WINDOWS: Final = sys.platform == "win32"
# On Windows a key event asks a program to end, and only a program with its own process group.
if sys.platform == "win32":
    _GROUP, _END = subprocess.CREATE_NEW_PROCESS_GROUP, signal.CTRL_BREAK_EVENT
else:
    _GROUP, _END = 0, signal.SIGTERM


class Failed(Exception):
    """A check failed; `str()` says which."""


class Trial:
    """Runs the bundle in `installed`, with its own user folder below `home`.

    The docstring of each check says what the bundle has to do.
    """

    def __init__(self, installed: Path, home: Path) -> None:
        self._installed = installed
        self._home = home
        programs = installed / "Contents" / "MacOS" if installed.suffix == ".app" else installed
        self._program = programs / (f"{_NAME}.exe" if _ON_WINDOWS else _NAME)
        for folder in ("user", "temporary", "elsewhere"):
            (home / folder).mkdir(parents=True)
        self._environment = _environment_of_a_stranger(home)
        self._install_before = _listing(installed)

    def says_its_version(self) -> None:
        """The program starts."""
        output = self._run("--version")
        _expect(output.startswith(f"{_NAME} "), f"--version said {output!r}")

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """Play a capture from the bundle's own exchange, which the program uses meanwhile."""
        capture = write_capture(self._home / "capture.jsonl.gz", seed=7, seconds=240)
        # The exchange has its own data folder.
        command = ["exchange", "--port", "0", "--play", str(capture), "--loop"]
        folder = ["--data-dir", str(self._home / "exchange")]
        with self._started(*command, *folder, stdout=subprocess.PIPE) as process:
            said = ""
            while not (addresses := dict(re.findall(r"(ORDERBOOK_\w+_URL)=(\S+)", said))):
                line = process.stdout.readline() if process.stdout else ""
                _expect(line != "", f"the exchange ended, saying {said!r}")
                said += line
            self._environment.update(addresses)
            yield
        for name in addresses:
            del self._environment[name]

    def opens_a_window(self, shown: Screen | None, evidence: Path) -> None:
        """The window shows and records a live book, in its own database, and ends cleanly."""
        port = private_port()
        self._environment["ORDERBOOK_WEB_PORT"] = str(port)
        began = time.monotonic()
        with self._started("--symbol", _SYMBOL, "--serve", **self._on(shown)):
            if shown is not None:
                _until(lambda: not shown.is_blank(), "anything on screen")
                painted = time.monotonic() - began
                _until(shown.shows_book, "a book on screen")
                lively = time.monotonic() - began
                shown.save(evidence / "window.png")
                _say(f"window: painted after {painted:.2f} s, a book after {lively:.2f} s")
            _until(lambda: _synced_book(port), "a book in the window's browser view")
            # `record` uses the window's database, and finds the window's events in it.
            _until(lambda: "there already" in self.records(), "events in the database")

    def records(self) -> str:
        """`record` writes events, prints their number, and ends by itself; return its output."""
        output = self._run("record", _SYMBOL, "--duration", str(_RECORD_S), expect_on="stderr")
        found = re.search(r"([\d,]+) events recorded", output)
        _expect(found is not None and found[1] != "0", f"record said {output!r}")
        _say(f"record: {output.strip().splitlines()[-1]}")
        return output

    def serves(self) -> None:
        """`serve` gives browsers the page and the book."""
        port = private_port()
        settings = {"ORDERBOOK_WEB_PORT": str(port), "ORDERBOOK_SOURCE": "direct"}
        options = {"env": {**self._environment, **settings}, "stdout": subprocess.DEVNULL}
        with self._started("serve", _SYMBOL, **options):
            _until(lambda: _synced_book(port), "a book in the browser view")
            page = _get(f"http://127.0.0.1:{port}/")
            _expect("BTC/USDT" in page, f"the page of the browser view is {page[:200]!r}")
            _say(f"serve: page of {len(page)} characters, book with both sides")

    def doctor_finds_no_failure(self) -> None:
        """`doctor` finds no failure; it may warn of a missing screen."""
        findings = json.loads(self._run("doctor", "--json"))
        bad = [finding for finding in findings if finding["verdict"] == "failed"]
        _expect(not bad, f"doctor found {bad}")
        _say(f"doctor: {len(findings)} findings, none bad")

    def proves_its_recordings(self) -> None:
        """`recordings` lists the recording, and `verify` proves it."""
        listed = json.loads(self._run("recordings", "--json"))
        _expect(
            [(entry["market"], entry["events"] > 0) for entry in listed] == [("BTCUSDT", True)],
            f"recordings listed {listed}",
        )
        proof = json.loads(self._run("verify", _SYMBOL, "--json"))
        _expect(proof["holds"], f"verify found {proof['fault']}")
        _say(f"verify: {proof['events']} events hold, {len(proof['gaps'])} gaps")

    def exports_and_imports(self) -> None:
        """`export` writes all formats; `verify` proves the recording that `import` makes of one."""
        folder = self._home / "exports"
        folder.mkdir()
        for form, (ending, magic) in _EXPORTS.items():
            path = folder / f"book.{ending}"
            self._run("export", _SYMBOL, "--format", form, "-o", str(path))
            begins = path.read_bytes()[: len(magic)]
            _expect(begins == magic, f"the {form} file begins with {begins!r}")
        other = {"DB_NAME": "imported"}
        self._run("import", str(folder / "book.csv.gz"), variables=other)
        proof = json.loads(self._run("verify", _SYMBOL, "--json", variables=other))
        _expect(proof["holds"] and proof["events"] > 0, f"of the import, verify found {proof}")
        _say(f"export, import: {', '.join(_EXPORTS)}; {proof['events']} events came back")

    def shows_the_demo(self, shown: Screen | None, evidence: Path) -> None:
        """`--demo` needs neither network nor settings."""
        with self._started("--demo", **self._on(shown)):
            if shown is not None:
                _until(shown.is_blank, "the first window's end")
                _until(shown.shows_book, "the demo's book on screen")
                shown.save(evidence / "demo.png")
            else:
                time.sleep(_RECORD_S)
        _say("demo: a book, by way of its recording")

    def leaves_nothing_running(self) -> None:
        """No process of the bundle is left."""
        _until(lambda: not self._processes(), "the end of every process of the bundle")

    def wrote_only_into_its_folder(self) -> None:
        """The program has written only into the data folder, and the installation is unchanged."""
        _expect(_listing(self._installed) == self._install_before, "the installation changed")
        for folder in ("user", "temporary", "elsewhere"):
            left = [
                str(path)
                for path in (self._home / folder).rglob("*")
                # fontconfig writes a cache of the system's fonts if the system's own is outdated.
                if path.is_file() and "fontconfig" not in path.parts
            ]
            _expect(not left, f"files outside the data folder: {', '.join(left)}")

    def _on(self, shown: Screen | None) -> dict[str, Any]:
        name = {"QT_QPA_PLATFORM": "offscreen"} if shown is None else {"DISPLAY": shown.name}
        return {"env": {**self._environment, **name}}

    def _run(
        self,
        *arguments: str,
        expect_on: str = "stdout",
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        done = subprocess.run(
            [str(self._program), *arguments],
            env={**self._environment, **variables},
            cwd=self._home / "elsewhere",
            capture_output=True,
            encoding="utf-8",
            timeout=_PATIENCE_S,
            check=False,
        )
        said = f"{done.stdout}{done.stderr}"
        _expect(done.returncode == 0, f"{' '.join(arguments)} ended with {done.returncode}: {said}")
        return done.stdout if expect_on == "stdout" else done.stderr

    @contextmanager
    def _started(self, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """Run a command of the bundle; at the end, ask it to end and expect exit code 0."""
        defaults = {"env": self._environment, "cwd": self._home / "elsewhere"}
        command = [str(self._program), *arguments]
        process = subprocess.Popen(
            command, encoding="utf-8", creationflags=_GROUP, **{**defaults, **options}
        )
        try:
            yield process
            _expect(process.poll() is None, f"{arguments} ended by itself: {process.returncode}")
            process.send_signal(_END)
            process.communicate(timeout=_PATIENCE_S)
            _expect(process.returncode == 0, f"{arguments} ended with {process.returncode}")
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _processes(self) -> list[psutil.Process]:
        here = str(self._installed)
        found = []
        for process in psutil.process_iter(["exe", "cmdline"]):
            words = [process.info["exe"] or "", *(process.info["cmdline"] or ())[:1]]
            if any(word.startswith(here) for word in words):
                found.append(process)
        return found


def _environment_of_a_stranger(home: Path) -> dict[str, str]:
    """Return an environment with its own folders, and without variables of Python and of ours."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ORDERBOOK_", "PYTHON", "QT_", "XDG_", "LD_", "DYLD_", "VIRTUAL"))
        and name not in ("SYMBOL", "MONGO_DSN", "DB_NAME", "ENV", "DISPLAY", "WAYLAND_DISPLAY")
    }
    user, temporary = str(home / "user"), str(home / "temporary")
    return {
        **inherited,
        # No mongod is on this PATH, so the bundle's own database is tried.
        "PATH": inherited.get("SystemRoot", "") + r"\System32" if _ON_WINDOWS else "/usr/bin:/bin",
        "HOME": user,
        "USERPROFILE": user,
        "LOCALAPPDATA": user,
        "APPDATA": user,
        "TMPDIR": temporary,
        "TEMP": temporary,
        "TMP": temporary,
        "ORDERBOOK_DATA_DIR": str(home / "data"),
        "NO_PROXY": "127.0.0.1",
    }


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def _synced_book(port: int) -> bool:
    """Return whether the browser view on this port has a book with both sides."""
    try:
        book = json.loads(_get(f"http://127.0.0.1:{port}/api/book?symbol=BTCUSDT&depth=10"))
    except (OSError, ValueError):
        return False
    return bool(book["bids"]) and bool(book["asks"])


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 (our own address)
        text: str = answer.read().decode()
    return text


def _until(condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition` holds; raises `Failed` if that takes too long."""
    until = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise Failed(f"{what}: not within {_PATIENCE_S:.0f} s")
        time.sleep(_POLL_S)


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Failed(otherwise)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
