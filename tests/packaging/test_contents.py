from __future__ import annotations

import sys
from importlib.metadata import distribution
from pathlib import Path

import msgspec
import pytest
from bundling.contents import NotPinned, contents_of, licence_files
from bundling.notices import write_notices
from bundling.product import ROOT


def file_of(name: str) -> str:
    found = distribution(name)
    path = next(file for file in found.files or () if str(file).endswith(".py"))
    return str(Path(str(found.locate_file(path))).resolve())


def test_files_lead_to_their_distributions() -> None:
    sources = [str(Path(msgspec.__file__)), file_of("typer"), str(ROOT / "README.md")]
    contents = contents_of(sources)
    assert [one.name for one in contents.distributions] == ["msgspec", "typer"]
    assert contents.system == ()


def test_a_distribution_that_is_not_pinned_is_refused() -> None:
    with pytest.raises(NotPinned, match=r"not in requirements\.txt: pytest;"):
        contents_of([file_of("pytest")])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Debian's packages")
def test_libraries_of_the_system_are_named(tmp_path: Path) -> None:
    library = tmp_path / "libsomething.so.1"
    library.write_bytes(b"")
    [package] = contents_of([str(library)]).system
    assert package.files == ("libsomething.so.1",)


def test_notices_have_every_text(tmp_path: Path) -> None:
    contents = contents_of([file_of("arro3-io"), file_of("msgspec"), file_of("shiboken6")])
    write_notices(contents, tmp_path / "notices")
    licences = tmp_path / "notices" / "LICENSES"
    table = (licences / "README.txt").read_text()
    assert "LGPL-3.0" in table
    assert "Apache License" in (licences / "arro3-io" / "Apache-2.0.txt").read_text()
    assert "Lesser" in (licences / "shiboken6" / "LGPL-3.0.txt").read_text()
    assert list((licences / "msgspec").iterdir())
    assert list((licences / "Python").iterdir())
    assert not (tmp_path / "notices" / "orderbook-database.SOURCE.txt").exists()


def test_the_database_server_has_its_text_and_source_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("secantus")
    write_notices(contents_of([file_of("SecantusDB")]), tmp_path / "notices")
    text = (tmp_path / "notices" / "orderbook-database.LICENSE.txt").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 2, June 1991" in text
    pointer = (tmp_path / "notices" / "orderbook-database.SOURCE.txt").read_text()
    assert distribution("SecantusDB").version in pointer


def test_licences_are_found_where_wheels_keep_them() -> None:
    assert all(path.is_file() for path in licence_files(distribution("numpy")))
    assert len(licence_files(distribution("numpy"))) > 1
