"""Readers for the Dutch part of SigComp2011, as commonly packaged for machine learning, and for its CSV lists.

The common package has two pitfalls:

- Its ``test`` folder is a copy of a part of its ``train`` folder. Here, the split is by writer.
- In its CSV files, **label 1 means a forged pair** and 0 a genuine pair. Both images of a pair always have the same
  signer, so there are no random forgeries. :func:`read_pairs` converts the label to :attr:`Pair.genuine`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.data.readers.folder import FolderDataset
from model.data.specimens import IMAGE_SUFFIXES, Specimen, image_specimen, require_folder
from model.errors import DataError
from model.types import Terms

CITATION = (
    "M. Liwicki et al., Signature Verification Competition for Online and Offline Skilled Forgeries "
    "(SigComp2011), ICDAR 2011; research use"
)


class SigComp2011(FolderDataset):
    """Signatures in ``ROOT/{train,test}/WRITER/{genuine,forged}/*`` or ``ROOT/WRITER/{genuine,forged}/*``."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, name="sigcomp2011-dutch", terms="research", citation=CITATION)

    def _find_writers(self, root: Path) -> dict[str, Path]:
        writers: dict[str, Path] = {}
        for folder in (root / "train", root / "test", root):
            if not folder.is_dir():
                continue
            for name, path in super()._find_writers(folder).items():
                if name in writers:
                    raise DataError(
                        f"Writer {name} is in two folders, {writers[name]} and {path}: training and test overlap."
                    )
                writers[name] = path
        return writers


@dataclass(frozen=True)
class Pair:
    """A reference and a questioned signature of the same signer; ``genuine`` is False for a skilled forgery."""

    reference: Path
    questioned: Path
    genuine: bool


def read_pairs(table: Path, images: Path) -> list[Pair]:
    """Read a CSV list ``reference,questioned,label`` without a header; label 1 = forged, 0 = genuine.

    Parameters
    ----------
    table : Path
    images : Path
        The folder that the paths in the list are relative to.

    Raises
    ------
    DataError
        The file cannot be read, a line does not have three columns, a label is not 0 or 1, or an image is missing.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"The list of pairs {table} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"The list of pairs {table} is not UTF-8 text.") from error
    pairs = []
    for line, row in enumerate(csv.reader(text.splitlines()), start=1):
        if not row:
            continue
        if len(row) != 3 or row[2].strip() not in {"0", "1"}:
            raise DataError(f"{table}, line {line}: expected reference,questioned,label with label 0 or 1.")
        paths = [images / cell.strip() for cell in row[:2]]
        for path in paths:
            if not path.is_file():
                raise DataError(f"{table}, line {line}: the image {path} does not exist.")
        pairs.append(Pair(paths[0], paths[1], genuine=row[2].strip() == "0"))
    return pairs


class SigComp2011Pairs:
    """The images of a CSV list, in folders ``NNN`` (genuine) and ``NNN_forg`` (forged), as a data set.

    Raises
    ------
    DataError
        As :func:`read_pairs`; or a label contradicts the folder of its image, which indicates that the labels have
        the opposite meaning; or the list is empty.
    """

    name = "sigcomp2011-dutch"
    terms: Terms = "research"
    citation = CITATION

    def __init__(self, table: Path, images: Path) -> None:
        require_folder(images, self.name)
        found: dict[str, dict[Path, bool]] = {}
        for pair in read_pairs(table, images):
            for path in (pair.reference, pair.questioned):
                parts = re.fullmatch(r"(\d+)(_forg)?", path.parent.name)
                if parts is None or path.suffix.lower() not in IMAGE_SUFFIXES:
                    raise DataError(f"{path} is not an image in a folder WRITER or WRITER_forg.")
                found.setdefault(parts[1], {})[path] = parts[2] is None
            if pair.genuine == pair.questioned.parent.name.endswith("_forg"):
                raise DataError(
                    f"{table} labels {pair.questioned} as {'genuine' if pair.genuine else 'forged'}, but its folder "
                    "contradicts this; label 1 must mean a forged pair."
                )
        if not found:
            raise DataError(f"{table} contains no pairs.")
        self._images = images
        self._found = found

    def signers(self) -> Sequence[str]:
        """Return the numbers of the writers, sorted."""
        return tuple(sorted(self._found))

    def genuine(self, signer: str) -> Sequence[Specimen]:
        """Return the listed images in ``NNN``, sorted by path."""
        return self._specimens(signer, genuine=True)

    def forgeries(self, signer: str) -> Sequence[Specimen]:
        """Return the listed images in ``NNN_forg``, sorted by path."""
        return self._specimens(signer, genuine=False)

    def _specimens(self, signer: str, *, genuine: bool) -> tuple[Specimen, ...]:
        return tuple(
            image_specimen(self._images, path, signer, genuine=genuine)
            for path, is_genuine in sorted(self._found[signer].items())
            if is_genuine == genuine
        )
