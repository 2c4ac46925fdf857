"""Reader for a folder ``ROOT/WRITER/{genuine,forged}/*``, the format for user data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.data.specimens import Specimen, image_specimen, images_in, require_folder, without_repeats
from model.errors import DataError
from model.types import Terms


class FolderDataset:
    """Genuine signatures in ``ROOT/WRITER/genuine`` and optional skilled forgeries in ``ROOT/WRITER/forged``.

    Files that are identical to another file of the same writer are skipped.

    Parameters
    ----------
    root : Path
    name : str
    terms : {"research", "permissive"}
    citation : str

    Raises
    ------
    DataError
        The folder does not exist or contains no writer with genuine specimens.
    """

    def __init__(
        self, root: Path, name: str = "folder", terms: Terms = "research", citation: str = ""
    ) -> None:
        self.name = name
        self.terms: Terms = terms
        self.citation = citation
        self._root = require_folder(root, name)
        self._folders = self._find_writers(root)
        if not self._folders:
            raise DataError(
                f"{root} contains no folder WRITER/genuine with images (WRITER/forged is optional)."
            )

    def signers(self) -> Sequence[str]:
        """Return the names of the writers' folders, sorted."""
        return tuple(sorted(self._folders))

    def genuine(self, signer: str) -> Sequence[Specimen]:
        """Return the images in ``WRITER/genuine``, sorted by name."""
        return self._specimens(signer, "genuine")

    def forgeries(self, signer: str) -> Sequence[Specimen]:
        """Return the images in ``WRITER/forged``, sorted by name."""
        return self._specimens(signer, "forged")

    def _find_writers(self, root: Path) -> dict[str, Path]:
        return {p.name: p for p in root.iterdir() if p.is_dir() and images_in(p / "genuine")}

    def _specimens(self, signer: str, kind: str) -> tuple[Specimen, ...]:
        folder = self._folders[signer]
        files = {name: images_in(folder / name) for name in ("genuine", "forged")}
        kept = without_repeats([*files["genuine"], *files["forged"]])
        return tuple(
            image_specimen(self._root, path, signer, genuine=kind == "genuine")
            for path in files[kind]
            if path in kept
        )
