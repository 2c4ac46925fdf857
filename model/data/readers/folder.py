"""Reader for a plain folder ``ROOT/WRITER/{genuine,forged}/*``: the form to bring own data in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.data.specimens import Specimen, image_specimen, images_in, require_folder, without_repeats
from model.errors import DataError
from model.types import Terms


class FolderDataset:
    """Signatures in ``ROOT/WRITER/genuine`` and, where there are any, ``ROOT/WRITER/forged``.

    A file that repeats another of the same writer byte for byte is left out.

    Raises
    ------
    DataError
        No such folder, or no writer with a genuine specimen in it.
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
                f"{root} has no folder WRITER/genuine with images in it; WRITER/forged is optional."
            )

    def signers(self) -> Sequence[str]:
        """Names of the writers' folders, sorted."""
        return tuple(sorted(self._folders))

    def genuine(self, signer: str) -> Sequence[Specimen]:
        """The images of ``WRITER/genuine``."""
        return self._specimens(signer, "genuine")

    def forgeries(self, signer: str) -> Sequence[Specimen]:
        """The images of ``WRITER/forged``."""
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
