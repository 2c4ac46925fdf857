"""Who trains, who chooses, who reports: splits by writer, fixed here and nowhere else.

=====================  ==========================  ======================  ======================
data set               train                       validation              test (reporting only)
=====================  ==========================  ======================  ======================
sigcomp2011-dutch      ``train/``, first 34        ``train/``, last 9      ``test/``, 21 writers
svc2004                persons 1 to 24             persons 25 to 30        persons 31 to 40
cross-media-chinese    other writers               writer number % 10 = 0  none
self-30                persons 1 to 25             persons 26 to 30        none
susig                  other people                number % 6 = 3          number % 6 = 0
bhsig260               other people                number % 6 = 3          number % 6 = 0
sigcomp2009            other people                number % 6 = 3          number % 6 = 0
synthetic              none (see sources)          all 120                 none
any other              last sixth, at least 1, is validation               none
=====================  ==========================  ======================  ======================

Validation writers choose checkpoints and thresholds and fit the calibration; test writers are looked at once,
for the tables. ``full`` is training and validation writers together, for a last run with the settings frozen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

from model.data.specimens import Dataset, Specimen
from model.errors import DataError
from model.types import Terms

DUTCH_FIRST_TEST_WRITER = 49
"""Writers 049 to 069 are the usual test writers of SigComp2011's Dutch part."""

SIXTHS = frozenset({"bhsig260", "sigcomp2009", "susig"})
"""Corpora whose people go by the remainder of their number on division by six; the parts of one corpus alike."""

Split = Literal["train", "validation", "test", "full", "all"]


class Subset:
    """Some signers of a data set, themselves a :class:`~model.data.specimens.Dataset`."""

    def __init__(self, dataset: Dataset, signers: Sequence[str], suffix: str) -> None:
        self.name = f"{dataset.name}/{suffix}"
        self.terms: Terms = dataset.terms
        self.citation = dataset.citation
        self._dataset = dataset
        self._signers = tuple(sorted(signers))

    def signers(self) -> Sequence[str]:
        """The signers of this subset, sorted."""
        return self._signers

    def genuine(self, signer: str) -> Sequence[Specimen]:
        """As the data set's."""
        return self._dataset.genuine(self._own(signer))

    def forgeries(self, signer: str) -> Sequence[Specimen]:
        """As the data set's."""
        return self._dataset.forgeries(self._own(signer))

    @property
    def whole(self) -> Dataset:
        """The data set this is a part of."""
        return self._dataset

    def _own(self, signer: str) -> str:
        if signer not in self._signers:
            raise KeyError(f"{signer} is not among the signers of {self.name}")
        return signer


def split(dataset: Dataset, part: Split) -> Subset:
    """The signers of one part of a data set.

    Raises
    ------
    DataError
        There is no such part, or nobody is in it.
    """
    if part not in get_args(Split):
        raise DataError(f"There is no split {part!r}; choose from {', '.join(get_args(Split))}.")
    assigned = {signer: _part_of(dataset, signer) for signer in dataset.signers()}
    wanted = {"full": {"train", "validation"}, "all": {"train", "validation", "test"}}.get(part, {part})
    signers = [signer for signer, own in assigned.items() if own in wanted]
    if not signers:
        raise DataError(f"Nobody in {dataset.name} belongs to the split {part!r}.")
    return Subset(dataset, signers, part)


def _part_of(dataset: Dataset, signer: str) -> str:
    number = _number(signer)
    if dataset.name == "sigcomp2011-dutch":
        if number >= DUTCH_FIRST_TEST_WRITER:
            return "test"
        others = [name for name in dataset.signers() if _number(name) < DUTCH_FIRST_TEST_WRITER]
        return _last_are_validation(others, signer, 9)
    if dataset.name == "svc2004":
        return "train" if number <= 24 else "validation" if number <= 30 else "test"
    if dataset.name.partition("-")[0] in SIXTHS:
        return {0: "test", 3: "validation"}.get(number % 6, "train")
    validation = {
        "cross-media-chinese": number % 10 == 0,
        "self-30": number > 25,
        "synthetic": True,
    }
    if dataset.name in validation:
        return "validation" if validation[dataset.name] else "train"
    signers = list(dataset.signers())
    return _last_are_validation(signers, signer, max(1, len(signers) // 6))


def _last_are_validation(signers: list[str], signer: str, count: int) -> str:
    return "validation" if signers.index(signer) >= len(signers) - count else "train"


def _number(signer: str) -> int:
    """The first number in a signer's name: 12 for ``U12``, ``person_12`` and ``012/name03``."""
    found = re.search(r"\d+", signer)
    return int(found.group()) if found else -1
