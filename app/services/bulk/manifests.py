"""Manifests of bulk jobs: tables in CSV or Parquet with one row for each image.

Columns: ``image`` (the name of the image), ``signer_id`` (except for extraction), and optionally ``id`` (a text that
is returned with the result), ``page`` (counted from 0) and ``region`` (``auto``, ``whole`` or
``left,top,right,bottom``). Other columns are ignored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from pydantic_core import PydanticCustomError

from app.domain.caller_ids import signer_id
from app.domain.records import UploadRegion, parse_region
from app.services.bulk.errors import InvalidJob, RowRefused

COLUMNS = ("id", "signer_id", "image", "page", "region")
MAX_PAGE = 10_000


@dataclass(frozen=True)
class Row:
    """One row of a manifest, as texts; ``number`` is counted from 0. A missing value is an empty text."""

    number: int
    id: str
    signer_id: str
    image: str
    page: str
    region: str

    def checked_signer(self) -> str:
        """Return the signer's id in its stored form. Raises RowRefused."""
        try:
            return signer_id(self.signer_id)
        except PydanticCustomError as error:
            raise RowRefused("malformed-row", f"{error}.") from error

    def checked_page(self) -> int:
        """Return the page, counted from 0. Raises RowRefused."""
        text = self.page or "0"
        if not text.isascii() or not text.isdigit() or int(text) > MAX_PAGE:
            raise RowRefused("malformed-row", f"{text!r} is not the number of a page, counted from 0.")
        return int(text)

    def checked_region(self) -> UploadRegion:
        """Return the region. Raises RowRefused."""
        try:
            return parse_region(self.region or "auto")
        except ValueError as error:
            raise RowRefused(
                "malformed-row",
                f"{self.region!r} is not a region; it must be auto, whole or left,top,right,bottom.",
            ) from error


class Manifest:
    """A table that is read completely; a million rows take about 100 MB.

    Parameters
    ----------
    path : Path
        ``.csv``, or ``.parquet``.
    needs_signer : bool
        Whether the column ``signer_id`` is required.

    Attributes
    ----------
    sha256 : str
        Of the file's bytes.

    Raises
    ------
    BulkRefused
        The file cannot be read, or has no such columns.
    """

    def __init__(self, path: Path, *, needs_signer: bool) -> None:
        try:
            with path.open("rb") as file:
                self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise InvalidJob(f"The manifest {path} cannot be read: {error}.") from error
        required = ("image", "signer_id") if needs_signer else ("image",)
        missing = [name for name in required if name not in table.column_names]
        if missing:
            raise InvalidJob(f"The manifest {path} has no column {missing[0]!r}.")
        self._table: Any = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def rows(self, start: int, count: int) -> list[Row]:
        """Return up to `count` rows from row `start` on."""
        part = self._table.slice(start, count)
        empty = [""] * part.num_rows
        columns = [
            [value or "" for value in part.column(name).to_pylist()] if name in part.column_names else empty
            for name in COLUMNS
        ]
        return [Row(number, *values) for number, values in enumerate(zip(*columns, strict=True), start)]


def _read_csv(path: Path) -> Any:
    """Read a CSV file with all columns as texts."""
    options = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(COLUMNS, pa.string()), strings_can_be_null=False
    )
    table = pa.csv.read_csv(path, convert_options=options)
    return table.select([name for name in COLUMNS if name in table.column_names])


def _read_parquet(path: Path) -> Any:
    schema = pa.parquet.read_schema(path)
    table = pa.parquet.read_table(path, columns=[name for name in COLUMNS if name in schema.names])
    return table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))
