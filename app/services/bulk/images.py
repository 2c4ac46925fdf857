"""Where the images of a bulk job are: in a folder or an object store, or in a tar archive in either (fsspec)."""

from __future__ import annotations

import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, Protocol

import fsspec

from app.services.bulk.errors import InvalidJob, RowRefused

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Images(Protocol):
    """Images by name; thread-safe."""

    def read(self, name: str) -> bytes:
        """Read an image, no more than the limit of bytes.

        Raises
        ------
        RowRefused
            There is no such image.
        OSError
            The image cannot be read now.
        """


class Folder:
    """Images below a folder, or below a prefix of an object store.

    Parameters
    ----------
    url : str
        A path, or a URL of fsspec such as ``s3://bucket/scans``.
    limit : int
        Maximum number of bytes to read of an image.
    """

    def __init__(self, url: str, limit: int) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._limit = limit
        if not self._files.isdir(self._root):
            raise InvalidJob(f"{url} is neither a folder nor a tar archive.")

    def read(self, name: str) -> bytes:
        """As :class:`Images`."""
        path = f"{self._root.rstrip('/')}/{_inside(name)}"
        try:
            with self._files.open(path, "rb") as file:
                return bytes(file.read(self._limit))
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise _not_found(name) from error


class Archive:
    """Images in a tar archive; fastest when they are read in the order of the archive and it is not compressed.

    Parameters
    ----------
    file : binary file
        The archive, which can be searched.
    limit : int
        Maximum number of bytes to read of an image.
    """

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        try:
            self._tar = tarfile.open(fileobj=file)  # noqa: SIM115 - open as long as its file
            self._members = {_plain(member.name): member for member in self._tar if member.isfile()}
        except tarfile.TarError as error:
            raise InvalidJob(f"The archive of images cannot be read: {error}.") from error

    def read(self, name: str) -> bytes:
        """As :class:`Images`."""
        member = self._members.get(_inside(name))
        if member is None:
            raise _not_found(name)
        with self._lock:
            content = self._tar.extractfile(member)
            if content is None:
                raise _not_found(name)
            return content.read(self._limit)


@contextmanager
def open_images(url: str, limit: int) -> Iterator[Images]:
    """Open a folder, an object store or a tar archive.

    Raises
    ------
    BulkRefused
        There is no such folder or archive, or its protocol needs a package that is not installed.
    """
    try:
        if url.lower().endswith(_ARCHIVES):
            opened: Any = fsspec.open(url, "rb")
            with opened as file:
                yield Archive(file, limit)
        else:
            yield Folder(url, limit)
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise InvalidJob(f"The images {url} cannot be opened: {error}.") from error


def _inside(name: str) -> str:
    """Return a relative name in its plain form. Raises RowRefused when it leads out of the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise RowRefused("malformed-row", f"{name!r} is not a path inside the folder of images.")
    return str(path)


def _plain(name: str) -> str:
    return str(PurePosixPath(name))


def _not_found(name: str) -> RowRefused:
    return RowRefused("image-not-found", f"There is no image {name!r}.")
