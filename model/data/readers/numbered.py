"""Base class of readers for corpora whose file names contain the signer, a number, and genuine or forged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from model.data.specimens import Specimen, image_specimen, require_folder, without_repeats
from model.errors import DataError
from model.types import Terms


class NumberedDataset:
    """Files whose names contain signer, number and genuine or forged; specimens are sorted by number.

    Files that are identical to another file of the same signer are skipped.

    Parameters
    ----------
    root : Path

    Raises
    ------
    DataError
        The folder does not exist, contains no file of the corpus, or has forgeries of a signer without genuine files.
    """

    name: str
    terms: Terms
    citation: str
    expected: str
    """Pattern of the file names, for error messages."""

    def __init__(self, root: Path) -> None:
        require_folder(root, self.name)
        self._root = root
        self._files: dict[str, list[tuple[bool, int, Path]]] = {}
        for path, signer, number, genuine in self._scan(root):
            self._files.setdefault(signer, []).append((genuine, number, path))
        for signer, files in self._files.items():
            kept = without_repeats(
                [path for _, _, path in sorted(files, key=lambda file: (not file[0], file[1]))]
            )
            self._files[signer] = [file for file in files if file[2] in kept]
        if not self._files:
            raise DataError(f"{root} contains no files {self.expected}.")
        orphans = sorted(s for s, files in self._files.items() if not any(genuine for genuine, _, _ in files))
        if orphans:
            raise DataError(
                f"{root} contains forgeries but no genuine signatures of {', '.join(orphans[:5])}."
            )

    def _scan(self, root: Path) -> Iterable[tuple[Path, str, int, bool]]:
        """Yield (path, signer, number, genuine) for each file of the corpus."""
        raise NotImplementedError

    def signers(self) -> Sequence[str]:
        """Return all signers, sorted."""
        return tuple(sorted(self._files))

    def genuine(self, signer: str) -> Sequence[Specimen]:
        """Return the genuine specimens, sorted by number."""
        return self._specimens(signer, genuine=True)

    def forgeries(self, signer: str) -> Sequence[Specimen]:
        """Return the skilled forgeries, sorted by number."""
        return self._specimens(signer, genuine=False)

    def _specimens(self, signer: str, *, genuine: bool) -> tuple[Specimen, ...]:
        return tuple(
            self._specimen(path, signer, genuine=genuine)
            for is_genuine, _, path in sorted(self._files[signer])
            if is_genuine == genuine
        )

    def _specimen(self, path: Path, signer: str, *, genuine: bool) -> Specimen:
        return image_specimen(self._root, path, signer, genuine=genuine)
