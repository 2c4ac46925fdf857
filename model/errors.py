"""What can go wrong on the model's side of Countersign.

::

    ModelError
    ├── UnusableSignature          an image without a signature that can be compared
    │   ├── BlankImage             nothing on the paper
    │   ├── TooLittleInk           a speck, a dot, a stray mark
    │   ├── OnlyALine              a ruled line, a border, a stroke-through
    │   ├── TooMuchInk             no paper to be seen: a photograph, a black page
    │   ├── TooSmall               fewer pixels than a signature needs
    │   ├── NoSignature            ink, but none that looks like a signature
    │   ├── SeveralSignatures      more than one signature may be meant
    │   └── BadRegion              the region is not a usable part of the image
    ├── WeightsError               a weights folder that must not be served
    │   ├── WeightsMissing
    │   ├── WeightsDamaged
    │   ├── WeightsMismatched      the tensors are not those of the network on the card
    │   ├── CalibrationMissing
    │   ├── CalibrationMismatched  fitted on the distances of other weights
    │   └── TermsRefused           trained on data whose terms the operator does not accept
    ├── DeviceUnavailable          CUDA demanded and absent
    └── DataError                  a data set, recipe or checkpoint that cannot be read
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self


class ModelError(Exception):
    """Base of all errors below; the message says what was wrong and what to do, in one sentence or two.

    Attributes
    ----------
    code : str
        A stable identifier in kebab case, the same in logs, on the command line and in HTTP problems.
    """

    code = "model-error"


class UnusableSignature(ModelError):
    """The image was read, but holds no signature that can be compared.

    Attributes
    ----------
    fact : str
        What is wrong with the image.
    advice : str
        Which other `page` or `region` of the image to read, for callers who can choose one; may be empty.
    """

    code = "unusable-signature"

    def __init__(self, fact: str, advice: str = "") -> None:
        super().__init__(f"{fact} {advice}" if advice else fact)
        self.fact = fact
        self.advice = advice


class BlankImage(UnusableSignature):
    """Nothing is written on the paper."""

    code = "blank-image"


class TooLittleInk(UnusableSignature):
    """There is ink, but no more than a speck."""

    code = "too-little-ink"


class OnlyALine(UnusableSignature):
    """All the ink is one straight line."""

    code = "only-a-line"


class TooMuchInk(UnusableSignature):
    """Ink and paper cannot be told apart: most of the image is dark."""

    code = "too-much-ink"


class TooSmall(UnusableSignature):
    """The image or the writing in it has too few pixels."""

    code = "image-too-small"


class NoSignature(UnusableSignature):
    """There is print or other ink, but no handwritten signature."""

    code = "no-signature"


class SeveralSignatures(UnusableSignature):
    """There are several signatures, and which one is meant would be a guess.

    Attributes
    ----------
    regions : tuple of four ints each
        Left, top, right and bottom of each signature in pixels of the image, the most prominent one first.
    """

    code = "several-signatures"

    def __init__(
        self, fact: str, advice: str = "", regions: Iterable[tuple[int, int, int, int]] = ()
    ) -> None:
        super().__init__(fact, advice)
        self.regions = tuple(regions)

    @classmethod
    def at(cls, regions: Sequence[tuple[int, int, int, int]]) -> Self:
        """Return the error for signatures in these regions."""
        listed = "; ".join(",".join(map(str, region)) for region in regions)
        return cls(
            f"There are {len(regions)} signatures on the image, at {listed} (left,top,right,bottom in pixels).",
            "Set `region` to the one that is meant.",
            regions,
        )


class BadRegion(UnusableSignature):
    """The region that the caller named is not a usable part of the image: outside it, or too small."""

    code = "bad-region"


class WeightsError(ModelError):
    """The weights folder cannot be served."""

    code = "weights-error"


class WeightsMissing(WeightsError):
    """A file of the weights folder is not there."""

    code = "weights-missing"


class WeightsDamaged(WeightsError):
    """A file of the weights folder is not what its card says it is."""

    code = "weights-damaged"


class WeightsMismatched(WeightsError):
    """The tensors do not fit the network that the card names."""

    code = "weights-mismatched"


class CalibrationMissing(WeightsError):
    """There is no calibration beside the weights."""

    code = "calibration-missing"


class CalibrationMismatched(WeightsError):
    """The calibration was fitted on other weights."""

    code = "calibration-mismatched"


class TermsRefused(WeightsError):
    """The weights' terms are not permissive and the operator asked for permissive ones only."""

    code = "terms-refused"


class DeviceUnavailable(ModelError):
    """The device that was demanded is not there."""

    code = "device-unavailable"


class DataError(ModelError):
    """A data set, a recipe or a checkpoint cannot be read."""

    code = "data-error"
