"""Splits of the data sets into training, validation and test writers.

=====================  ==========================  ======================  ======================
data set               train                       validation              test
=====================  ==========================  ======================  ======================
sigcomp2011-dutch      ``train/``, first 34        ``train/``, last 9      ``test/``, 21 writers
svc2004                writers 1 to 24             writers 25 to 30        writers 31 to 40
cross-media-chinese    other writers               writer number % 10 = 0  none
self-30                writers 1 to 25             writers 26 to 30        none
susig                  other writers               number % 6 = 3          number % 6 = 0
bhsig260               other writers               number % 6 = 3          number % 6 = 0
sigcomp2009            other writers               number % 6 = 3          number % 6 = 0
synthetic              none                        all 120                 none
other data sets        other writers               last sixth, at least 1  none
=====================  ==========================  ======================  ======================

Validation writers are used to select checkpoints and to fit the calibration; test writers are used only for the
reported results. ``full`` contains the training and the validation writers, for a final run with fixed settings.
Training on synthetic writers uses other ones (:class:`model.training.sources.SyntheticSource`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

from model.data.specimens import Dataset, Specimen
from model.errors import DataError
from model.types import Terms

DUTCH_FIRST_TEST_WRITER = 49
"""Writers 049 to 069 are the test writers of the Dutch part of SigComp2011."""

SIXTHS = frozenset({"bhsig260", "sigcomp2009", "susig"})
"""Corpora that are split by the writer's number modulo 6; this also applies to their parts."""

Split = Literal["train", "validation", "test", "full", "all"]


class Subset:
    """A data set (:class:`~model.data.specimens.Dataset`) with some of the signers of another one."""

    def __init__(self, dataset: Dataset, signers: Sequence[str], suffix: str) -> None:
        self.name = f"{dataset.name}/{suffix}"
        self.terms: Terms = dataset.terms
        self.citation = dataset.citation
        self._dataset = dataset
        self._signers = tuple(sorted(signers))

    def signers(self) -> Sequence[str]:
        """Return the signers of this subset, sorted."""
        return self._signers

    def genuine(self, signer: str) -> Sequence[Specimen]:
        """Return the genuine specimens. Raises KeyError for a signer outside of this subset."""
        return self._dataset.genuine(self._check(signer))

    def forgeries(self, signer: str) -> Sequence[Specimen]:
        """Return the skilled forgeries. Raises KeyError for a signer outside of this subset."""
        return self._dataset.forgeries(self._check(signer))

    @property
    def whole(self) -> Dataset:
        """The whole data set."""
        return self._dataset

    def _check(self, signer: str) -> str:
        if signer not in self._signers:
            raise KeyError(f"{signer} is not among the signers of {self.name}")
        return signer


def split(dataset: Dataset, part: Split) -> Subset:
    """Select the signers of one split of a data set.

    Raises
    ------
    DataError
        The split is unknown or contains no signer.
    """
    return Subset(dataset, signers_of_split(dataset.name, dataset.signers(), part), part)


def signers_of_split(name: str, signers: Sequence[str], part: Split) -> list[str]:
    """Select the signers of one split.

    Parameters
    ----------
    name : str
        Name of the data set.
    signers : sequence of str
        All its signers, or at least all training and validation signers; repeats are ignored.

    Raises
    ------
    DataError
        The split is unknown or contains no signer.
    """
    if part not in get_args(Split):
        raise DataError(f"Unknown split {part!r}; choose from {', '.join(get_args(Split))}.")
    everyone = sorted(set(signers))
    wanted = {"full": {"train", "validation"}, "all": {"train", "validation", "test"}}.get(part, {part})
    selected = [signer for signer in everyone if _part_of(name, everyone, signer) in wanted]
    if not selected:
        raise DataError(f"The split {part!r} of {name} contains no signer.")
    return selected


def _part_of(name: str, everyone: list[str], signer: str) -> str:
    number = _number(signer)
    if name == "sigcomp2011-dutch":
        if number >= DUTCH_FIRST_TEST_WRITER:
            return "test"
        others = [other for other in everyone if _number(other) < DUTCH_FIRST_TEST_WRITER]
        return _last_are_validation(others, signer, 9)
    if name == "svc2004":
        return "train" if number <= 24 else "validation" if number <= 30 else "test"
    if name.partition("-")[0] in SIXTHS:
        return {0: "test", 3: "validation"}.get(number % 6, "train")
    validation = {
        "cross-media-chinese": number % 10 == 0,
        "self-30": number > 25,
        "synthetic": True,
    }
    if name in validation:
        return "validation" if validation[name] else "train"
    return _last_are_validation(everyone, signer, max(1, len(everyone) // 6))


def _last_are_validation(signers: list[str], signer: str, count: int) -> str:
    return "validation" if signers.index(signer) >= len(signers) - count else "train"


def _number(signer: str) -> int:
    """Return the first number in a signer's name, e.g. 12 for ``U12``, ``person_12`` and ``012/name03``; else -1."""
    found = re.search(r"\d+", signer)
    return int(found.group()) if found else -1
