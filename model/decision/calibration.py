"""Fitted set rules, likelihood ratios and error rates, as :mod:`model.decision.verdict` applies them.

A calibration belongs to one set of weights: it carries the SHA-256 of their tensors and is refused with any other. It
is fitted by :mod:`model.evaluation.calibration_fit` (``python -m model calibrate``) and lies beside the weights as
``calibration.json``.

For each number of references k that was fitted there are a set rule, a logistic slope and intercept, and three
curves: the share of skilled forgeries, of random forgeries and of genuine signatures whose score is at most s. A
curve is kept as its quantiles at common levels, and is linear in the probit of the level (a DET plot's axes) between.
Between two fitted k everything is interpolated linearly in log k; beyond the largest, the largest stands.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy.special import ndtr, ndtri

from model.decision.distances import Floats
from model.decision.set_rule import SetRule
from model.errors import CalibrationMismatched, CalibrationMissing
from model.types import Metric, Terms

FILE = "calibration.json"
FITTED_REFERENCES = (1, 2, 3, 5, 10)
LARGEST_FAR = 0.5
RATE_DIGITS = 4
"""Decimals of the error rates of an operating point."""


class UnsupportedOperatingPoint(ValueError):
    """The demanded error rate lies outside what the calibration's data can tell."""


@dataclass(frozen=True)
class OperatingPoint:
    """Error rates in [0, 1] at the applied threshold, on people the model never saw.

    Attributes
    ----------
    far_skilled : float
        Share of skilled forgeries accepted.
    far_random : float
        Share of other people's signatures accepted.
    frr : float
        Share of genuine signatures not accepted.
    """

    far_skilled: float
    far_random: float
    frr: float

    def rounded(self) -> OperatingPoint:
        """The same to the digits that are shown."""
        return OperatingPoint(
            round(self.far_skilled, RATE_DIGITS),
            round(self.far_random, RATE_DIGITS),
            round(self.frr, RATE_DIGITS),
        )


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FittedOn(_Frozen):
    """Whose signatures a calibration was fitted on; counts are of people and of distinct signatures.

    ``terms`` are those of the data: ``research`` when any of it is.
    """

    datasets: tuple[str, ...]
    writers: int = Field(ge=2)
    genuine: int = Field(ge=2)
    skilled_forgeries: int = Field(ge=2)
    random_forgeries: int = Field(ge=2)
    draws: int = Field(ge=1)
    seed: int
    terms: Terms = "research"


class Parameters(_Frozen):
    """All that was fitted for one number of references.

    Attributes
    ----------
    references : int
        k.
    weights : four floats
        Of :data:`model.decision.set_rule.STATISTICS`; >= 0, sum 1.
    spread_weight : float
        Of the signer's spread, >= 0.
    slope, intercept : float
        ln LR = -(slope * score + intercept), slope > 0.
    skilled, random, genuine : tuple of float
        Scores at the calibration's levels, strictly increasing.
    """

    references: int = Field(ge=1)
    weights: tuple[float, float, float, float]
    spread_weight: float = Field(ge=0)
    slope: float = Field(gt=0)
    intercept: float
    skilled: tuple[float, ...]
    random: tuple[float, ...]
    genuine: tuple[float, ...]

    @model_validator(mode="after")
    def _is_monotone(self) -> Self:
        if min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError("weights must not be negative and have to sum to 1")
        for name in ("skilled", "random", "genuine"):
            if np.any(np.diff(getattr(self, name)) <= 0):
                raise ValueError(f"the scores of the {name} curve have to increase")
        return self


@dataclass(frozen=True)
class Curve:
    """A distribution of scores: ``probits[i]`` is the probit of the share of scores <= ``scores[i]``."""

    scores: Floats
    probits: Floats
    floor: float

    def share(self, score: float) -> float:
        """Share of scores <= ``score``, never below the floor nor above one minus it."""
        share = float(ndtr(np.interp(score, self.scores, self.probits)))
        return min(max(share, self.floor), 1.0 - self.floor)

    def score(self, share: float) -> float:
        """The score that the share lies below."""
        return float(np.interp(float(ndtri(share)), self.probits, self.scores))


@dataclass(frozen=True)
class Fitted:
    """The calibration at one number of references, interpolated where needed."""

    rule: SetRule
    slope: float
    intercept: float
    skilled: Curve
    random: Curve
    genuine: Curve


class Calibration(_Frozen):
    """Everything that turns distances into a verdict, for one set of weights.

    Attributes
    ----------
    weights_sha256 : str
        Of the ``model.safetensors`` whose distances were fitted.
    spread_mean, spread_prior : float
        See :class:`model.decision.set_rule.SetRule`.
    llr_bounds : (float, float)
        log10; with n signatures seen, evidence stronger than n to 1 is not claimed.
    floor_skilled, floor_random, floor_genuine : float
        One over the number of distinct signatures (or pairs of people) behind each curve: smaller rates are never
        stated.
    copy_distance : float
        Half the smallest distance between two signatures by one hand, the closest pairs of one signer in fifty aside;
        anything closer looks like a copy.
    levels : tuple of float
        Shares, increasing, in (0, 1), at which the curves' scores are given.
    parameters : tuple of Parameters
        In the order of k.
    """

    format: Literal[1] = 1
    weights_sha256: str
    metric: Metric
    created: datetime
    fitted_on: FittedOn
    spread_mean: float = Field(gt=0)
    spread_prior: float = Field(ge=0)
    llr_bounds: tuple[float, float]
    floor_skilled: float = Field(gt=0, lt=0.5)
    floor_random: float = Field(gt=0, lt=0.5)
    floor_genuine: float = Field(gt=0, lt=0.5)
    copy_distance: float = Field(ge=0)
    levels: tuple[float, ...] = Field(min_length=2)
    parameters: tuple[Parameters, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if np.any(np.diff(self.levels) <= 0) or min(self.levels) <= 0 or max(self.levels) >= 1:
            raise ValueError("levels have to increase within (0, 1)")
        counts = [p.references for p in self.parameters]
        if counts != sorted(set(counts)):
            raise ValueError("parameters have to be in the order of their number of references")
        for p in self.parameters:
            if not len(p.skilled) == len(p.random) == len(p.genuine) == len(self.levels):
                raise ValueError("each curve needs one score for each level")
        return self

    def __hash__(self) -> int:
        return hash((self.weights_sha256, self.created))

    @property
    def identifier(self) -> str:
        """The first 12 digits of the SHA-256 of its JSON: what a verification on record refers to."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @property
    def far_range(self) -> tuple[float, float]:
        """The smallest and the largest ``target_far`` that can be asked for."""
        return self.floor_skilled, LARGEST_FAR

    def at(self, references: int) -> Fitted:
        """The calibration for ``references`` >= 1 references."""
        return _fitted_at(self, references)

    def threshold(self, target_far: float, references: int) -> float:
        """The score up to which a share ``target_far`` of skilled forgeries lies.

        Raises
        ------
        UnsupportedOperatingPoint
            ``target_far`` is outside :attr:`far_range`.
        """
        low, high = self.far_range
        if not low <= target_far <= high:
            raise UnsupportedOperatingPoint(
                f"A false acceptance rate of {target_far:g} cannot be asked for: the calibration knows "
                f"{self.fitted_on.skilled_forgeries} skilled forgeries by {self.fitted_on.writers} writers, which "
                f"supports rates from {low:.4f} to {high}."
            )
        return self.at(references).skilled.score(target_far)

    def operating_point(self, score: float, references: int) -> OperatingPoint:
        """Error rates when scores up to ``score`` are accepted, none below its floor."""
        fitted = self.at(references)
        return OperatingPoint(
            far_skilled=fitted.skilled.share(score),
            far_random=fitted.random.share(score),
            frr=1.0 - fitted.genuine.share(score),
        )

    def supports(self, score: float, references: int) -> bool:
        """Whether the skilled FAR at ``score`` is above its floor, so that it is an estimate and not a bound."""
        return self.at(references).skilled.share(score) > self.floor_skilled

    def log_likelihood_ratio(self, score: float, references: int) -> float:
        """log10 P(score | genuine) / P(score | skilled forgery), within :attr:`llr_bounds`."""
        fitted = self.at(references)
        low, high = self.llr_bounds
        return min(max(-(fitted.slope * score + fitted.intercept) / math.log(10.0), low), high)

    def save(self, folder: Path) -> Path:
        """Write ``calibration.json`` into a weights folder."""
        path = folder / FILE
        path.write_text(self.model_dump_json() + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, folder: Path, weights_sha256: str) -> Self:
        """Read the calibration of a weights folder.

        Parameters
        ----------
        folder : Path
            Holds ``calibration.json``.
        weights_sha256 : str
            Of the tensors that will be served.

        Raises
        ------
        CalibrationMissing
            There is none, or it cannot be read.
        CalibrationMismatched
            It was fitted on the distances of other weights.
        """
        path = folder / FILE
        fit_one = f"run `python -m model calibrate {folder}`"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise CalibrationMissing(f"There is no {path}; {fit_one}.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise CalibrationMissing(f"{path} cannot be read ({error}); {fit_one}.") from error
        try:
            calibration = cls.model_validate(json.loads(text))
        except (ValueError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise CalibrationMissing(f"{path} is not a calibration ({reason}); {fit_one}.") from error
        if calibration.weights_sha256 != weights_sha256:
            raise CalibrationMismatched(
                f"{path} was fitted on weights {calibration.weights_sha256[:12]}…, these are {weights_sha256[:12]}…; "
                f"{fit_one}."
            )
        return calibration


@lru_cache(maxsize=256)
def _fitted_at(calibration: Calibration, references: int) -> Fitted:
    if references < 1:
        raise ValueError("a signature is compared with at least one reference")
    fitted = calibration.parameters
    known = np.log([p.references for p in fitted])
    place = float(np.interp(math.log(references), known, np.arange(len(fitted))))
    low, high = fitted[math.floor(place)], fitted[math.ceil(place)]
    part = place - math.floor(place)

    def between(a: float | tuple[float, ...], b: float | tuple[float, ...]) -> Floats:
        return np.asarray((1.0 - part) * np.asarray(a) + part * np.asarray(b), dtype=np.float64)

    probits = np.asarray(ndtri(calibration.levels), dtype=np.float64)
    w0, w1, w2, w3 = between(low.weights, high.weights).tolist()
    return Fitted(
        rule=SetRule(
            weights=(w0, w1, w2, w3),
            spread_weight=float(between(low.spread_weight, high.spread_weight)),
            spread_mean=calibration.spread_mean,
            spread_prior=calibration.spread_prior,
        ),
        slope=float(between(low.slope, high.slope)),
        intercept=float(between(low.intercept, high.intercept)),
        skilled=Curve(between(low.skilled, high.skilled), probits, calibration.floor_skilled),
        random=Curve(between(low.random, high.random), probits, calibration.floor_random),
        genuine=Curve(between(low.genuine, high.genuine), probits, calibration.floor_genuine),
    )
