"""Downloads: archives are checked, and the right file of each is kept."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile

import pytest

from model.documents.downloads import check, font_of, member
from model.errors import DataError


def archive(*names: str) -> bytes:
    """An archive of files whose content is their name."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as files:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            files.addfile(entry, io.BytesIO(name.encode()))
    return content.getvalue()


def test_the_regular_latin_font_is_taken() -> None:
    names = ("700-normal.woff", "400-normal.woff2", "400-normal.woff", "400-italic.woff")
    files = archive(*(f"package/files/caveat-latin-{name}" for name in names))
    assert font_of(files, "caveat") == b"package/files/caveat-latin-400-normal.woff"


def test_without_a_regular_font_the_lightest_is_taken() -> None:
    names = (
        "latin-700-normal.woff",
        "latin-300-normal.woff",
        "cyrillic-100-normal.woff",
        "latin-300-italic.woff",
    )
    files = archive(*(f"package/files/sunflower-{name}" for name in names))
    assert font_of(files, "sunflower") == b"package/files/sunflower-latin-300-normal.woff"


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(DataError, match="no file"):
        member(archive("package/README.md"), "/train-images-idx3-ubyte")


def test_a_damaged_archive_is_refused() -> None:
    good = archive("package/README.md")
    stated = "sha512-" + base64.b64encode(hashlib.sha512(good).digest()).decode()
    check(good, stated, "caveat")
    with pytest.raises(DataError, match="caveat: the downloaded archive is damaged"):
        check(good[:-1], stated, "caveat")
