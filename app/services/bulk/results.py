"""Results of a bulk job on disk: parts in a folder next to the output, joined into one Parquet file at the end.

A part has the results of one chunk of rows and appears complete or not at all. A job that was killed therefore
continues with the chunks that have no part.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet

from app.services.bulk.errors import BulkRefused, InvalidJob

_JOB = "job.json"
_LOCK = "lock"


class Results:
    """The folder of a job and its output. Use it as a context manager, in one process at a time.

    Parameters
    ----------
    output : Path
        The Parquet file to write. The folder has the same name with the suffix ``.job``.
    description : dict of str to JSON values
        What the job does. A folder that was begun with another description is refused.
    schema : pyarrow.Schema

    Attributes
    ----------
    job_id : str
        Random, the same after an interruption.
    """

    def __init__(self, output: Path, description: dict[str, Any], schema: Any) -> None:
        self._output = output
        self._folder = output.with_name(f"{output.name}.job")
        self._description = description
        self._schema = schema
        self._lock: int | None = None
        self.job_id = ""

    def __enter__(self) -> Results:
        """Begin or continue the job.

        Raises
        ------
        BulkRefused
            The output exists, another process runs this job, or the folder is that of another job.
        """
        if self._output.exists() and not self._folder.exists():
            raise InvalidJob(f"{self._output} exists; choose another output, or delete it.")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.job_id = self._begin()
        except BlockingIOError:
            self._release()
            raise BulkRefused(f"Another process is running the job in {self._folder}.") from None
        except OSError as error:
            self._release()
            raise BulkRefused(f"{self._folder} cannot be written: {error}.") from error
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def has(self, chunk: int) -> bool:
        """Whether the results of a chunk are on disk."""
        return self._part(chunk).exists()

    def write(self, chunk: int, rows: Sequence[dict[str, Any]]) -> None:
        """Store the results of a chunk; they are on disk when this returns."""
        table = pa.Table.from_pylist(list(rows), schema=self._schema)
        _write_whole(self._part(chunk), table)

    def join(self, chunks: int) -> None:
        """Write the output from the parts, and delete them."""
        whole = self._output.with_name(f".{self._output.name}.tmp")
        with pa.parquet.ParquetWriter(whole, self._schema, compression="zstd") as writer:
            for chunk in range(chunks):
                writer.write_table(pa.parquet.read_table(self._part(chunk), schema=self._schema))
        _flush(whole)
        whole.replace(self._output)
        _flush(self._output.parent)
        # Renamed first: a folder without some of its parts would be taken for an unfinished job.
        done = self._folder.with_name(f".{self._folder.name}.{self.job_id}")
        self._folder.rename(done)
        shutil.rmtree(done)

    def _begin(self) -> str:
        path = self._folder / _JOB
        if not path.exists():
            begun = {"job_id": uuid4().hex, **self._description}
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(begun, indent=2) + "\n", encoding="utf-8")
            _flush(temporary)
            temporary.replace(path)
            _flush(self._folder)
            return str(begun["job_id"])
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
            changed = [name for name, value in self._description.items() if begun.get(name) != value]
            job_id = str(begun["job_id"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BulkRefused(
                f"{path} cannot be read; restore it, or delete {self._folder} to begin again."
            ) from error
        if changed:
            raise InvalidJob(
                f"{self._folder} belongs to a job with another {changed[0].replace('_', ' ')}; choose another "
                "output, or delete the folder to begin again."
            )
        return job_id

    def _part(self, chunk: int) -> Path:
        return self._folder / f"part-{chunk:08d}.parquet"

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _write_whole(path: Path, table: Any) -> None:
    """Write a Parquet file that appears complete or not at all."""
    temporary = path.with_suffix(".tmp")
    pa.parquet.write_table(table, temporary)
    _flush(temporary)
    temporary.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Write a file or a folder from the cache to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
