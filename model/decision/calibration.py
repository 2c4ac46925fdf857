"""Calibration: fitted set rules, likelihood ratios and error rates, applied by :mod:`model.decision.verdict`.

A calibration belongs to one set of weights, which it identifies by the SHA-256 of their tensors. It is fitted by
:mod:`model.evaluation.calibration_fit` (``python -m model calibrate``) and saved as ``calibration.json`` in the
weights folder.

For each fitted number of references k, it contains a set rule, a logistic slope and intercept, and three cumulative
distributions of scores: of skilled forgeries, random forgeries and genuine signatures. A distribution is stored as
its quantiles at common levels; between them, the probit of the level is linear in the score (as on a DET plot).
Between two fitted k, all values are interpolated linearly in log k; above the largest fitted k, its values are used.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
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
    """The requested error rate is outside of the range that the calibration data support."""


@dataclass(frozen=True)
class OperatingPoint:
    """Error rates in [0, 1] at the applied threshold, for writers outside of the training data.

    Attributes
    ----------
    far_skilled : float
        FAR for skilled forgeries: share that is accepted.
    far_random : float
        FAR for random forgeries (genuine signatures of other writers): share that is accepted.
    frr : float
        FRR: share of genuine signatures that is not accepted.
    """

    far_skilled: float
    far_random: float
    frr: float

    def rounded(self) -> OperatingPoint:
        """Return the rates rounded to :data:`RATE_DIGITS` decimals."""
        return OperatingPoint(
            round(self.far_skilled, RATE_DIGITS),
            round(self.far_random, RATE_DIGITS),
            round(self.frr, RATE_DIGITS),
        )


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FittedOn(_Frozen):
    """The data that a calibration was fitted on.

    Attributes
    ----------
    datasets : tuple of str
    writers : int
    genuine, skilled_forgeries, random_forgeries : int
        Numbers of distinct signatures.
    draws : int
        Draws of references per writer.
    seed : int
    terms : {"research", "permissive"}
        ``research`` if any of the data sets has these terms.
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
    """The fitted parameters for one number of references.

    Attributes
    ----------
    references : int
        Number of references k.
    weights : four floats
        Weights of :data:`model.decision.set_rule.STATISTICS`, each >= 0, sum 1.
    spread_weight : float
        Weight of the signer's spread, >= 0.
    slope, intercept : float
        ln LR = -(slope * score + intercept), slope > 0.
    skilled, random, genuine : tuple of float
        Quantiles of the scores at the levels of the calibration, strictly increasing.
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
            raise ValueError("weights must not be negative and must sum to 1")
        for name in ("skilled", "random", "genuine"):
            if np.any(np.diff(getattr(self, name)) <= 0):
                raise ValueError(f"the scores of the {name} curve must be strictly increasing")
        return self


@dataclass(frozen=True)
class Curve:
    """A cumulative distribution of scores.

    Attributes
    ----------
    scores : (levels,) float64
    probits : (levels,) float64
        ``probits[i]`` is the probit of the share of scores <= ``scores[i]``.
    floor : float
        Minimum of the shares returned by :meth:`share`.
    """

    scores: Floats
    probits: Floats
    floor: float

    def share(self, score: float) -> float:
        """Return the share of scores <= ``score``, limited to [floor, 1 - floor]."""
        share = float(ndtr(np.interp(score, self.scores, self.probits)))
        return min(max(share, self.floor), 1.0 - self.floor)

    def log_density(self, score: float) -> float:
        """Return the natural logarithm of the density of scores; beyond the stored scores the last slope goes on."""
        place = int(np.clip(np.searchsorted(self.scores, score) - 1, 0, len(self.scores) - 2))
        slope = float(np.diff(self.probits)[place] / np.diff(self.scores)[place])
        probit = float(self.probits[place]) + slope * (score - float(self.scores[place]))
        return math.log(slope) - 0.5 * probit**2 - 0.5 * math.log(2.0 * math.pi)

    def score(self, share: float) -> float:
        """Return the quantile: the score at or below which this share of the scores is."""
        return float(np.interp(float(ndtri(share)), self.probits, self.scores))


@dataclass(frozen=True)
class Fitted:
    """The calibration for one number of references, interpolated if necessary."""

    rule: SetRule
    slope: float
    intercept: float
    skilled: Curve
    random: Curve
    genuine: Curve


class Calibration(_Frozen):
    """Converts distances to scores, error rates and likelihood ratios, for one set of weights.

    Attributes
    ----------
    weights_sha256 : str
        SHA-256 of the ``model.safetensors`` by which the distances were computed.
    spread_mean, spread_prior : float
        See :class:`model.decision.set_rule.SetRule`.
    llr_bounds : (float, float)
        Limits of the log10 likelihood ratio: n signatures cannot support a ratio of more than n to 1.
    floor_skilled, floor_random, floor_genuine : float
        Minimum rates to be stated: one divided by the number of distinct signatures (or pairs of writers) in each
        curve.
    copy_distance : float
        Distance below which a questioned signature may be a copy: half the smallest distance between two genuine
        signatures of one writer, without the 2 % of writers with the closest pairs.
    levels : tuple of float
        Levels of the quantiles of all curves, increasing, in (0, 1).
    parameters : tuple of Parameters
        Ordered by number of references.
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
            raise ValueError("levels must be strictly increasing and in (0, 1)")
        counts = [p.references for p in self.parameters]
        if counts != sorted(set(counts)):
            raise ValueError("parameters must be ordered by their number of references, without duplicates")
        for p in self.parameters:
            if not len(p.skilled) == len(p.random) == len(p.genuine) == len(self.levels):
                raise ValueError("each curve must have one score for each level")
        return self

    def __hash__(self) -> int:
        return hash((self.weights_sha256, self.created))

    @property
    def identifier(self) -> str:
        """The first 12 digits of the SHA-256 of the JSON form. Stored verifications contain it."""
        return _identifier_of(self)

    @property
    def far_range(self) -> tuple[float, float]:
        """Minimum and maximum of ``target_far``."""
        return self.floor_skilled, LARGEST_FAR

    @property
    def largest_threshold(self) -> float:
        """Maximum of a fixed threshold, in units of the distance.

        It is the largest quantile of the random forgeries, for a signer with the spread of the population: a
        larger threshold would accept the signatures of nearly all other people.
        """
        return max(p.random[-1] + p.spread_weight * self.spread_mean for p in self.parameters)

    def at(self, references: int) -> Fitted:
        """Return the calibration for a number of references >= 1."""
        return _fitted_at(self, references)

    def threshold(self, target_far: float, references: int) -> float:
        """Return the score up to which a share ``target_far`` of the skilled forgeries is accepted.

        Raises
        ------
        UnsupportedOperatingPoint
            ``target_far`` is outside :attr:`far_range`.
        """
        low, high = self.far_range
        if not low <= target_far <= high:
            raise UnsupportedOperatingPoint(
                f"A false acceptance rate of {target_far:g} is not supported: the calibration is based on "
                f"{self.fitted_on.skilled_forgeries} skilled forgeries of {self.fitted_on.writers} writers, which "
                f"allows rates from {low:.4f} to {high}."
            )
        return self.at(references).skilled.score(target_far)

    def operating_point(self, score: float, references: int) -> OperatingPoint:
        """Return the error rates if scores up to ``score`` are accepted."""
        fitted = self.at(references)
        return OperatingPoint(
            far_skilled=fitted.skilled.share(score),
            far_random=fitted.random.share(score),
            frr=1.0 - fitted.genuine.share(score),
        )

    def supports(self, score: float, references: int) -> bool:
        """Whether the FAR for skilled forgeries at ``score`` is above its floor; the floor is only an upper bound."""
        return self.at(references).skilled.share(score) > self.floor_skilled

    def log_likelihood_ratio(self, score: float, references: int) -> float:
        """Return log10(P(score | genuine) / P(score | skilled forgery)), limited to :attr:`llr_bounds`."""
        fitted = self.at(references)
        low, high = self.llr_bounds
        return min(max(-(fitted.slope * score + fitted.intercept) / math.log(10.0), low), high)

    def log_likelihood_ratio_random(self, score: float, references: int) -> float:
        """Return log10(P(score | genuine) / P(score | random forgery)), from the densities of the curves.

        It is limited to one over the floors of the curves: n pairs of writers cannot support a ratio of more than n
        to 1.
        """
        fitted = self.at(references)
        ratio = (fitted.genuine.log_density(score) - fitted.random.log_density(score)) / math.log(10.0)
        return min(max(ratio, math.log10(self.floor_genuine)), -math.log10(self.floor_random))

    def log_likelihood_ratio_by_density(self, score: float, references: int) -> float:
        """Return :meth:`log_likelihood_ratio` from the densities of the curves instead of the fitted logistic.

        Both are estimates from the same writers. Where they disagree, the ratio depends on how it is computed.
        """
        fitted = self.at(references)
        low, high = self.llr_bounds
        ratio = (fitted.genuine.log_density(score) - fitted.skilled.log_density(score)) / math.log(10.0)
        return min(max(ratio, low), high)

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
            Contains ``calibration.json``.
        weights_sha256 : str
            SHA-256 of the tensors that the calibration is used with.

        Raises
        ------
        CalibrationMissing
            The file does not exist or cannot be read.
        CalibrationMismatched
            The calibration belongs to other weights.
        """
        path = folder / FILE
        remedy = f"run `python -m model calibrate {folder}`"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise CalibrationMissing(f"{path} does not exist; {remedy}.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise CalibrationMissing(f"{path} cannot be read ({error}); {remedy}.") from error
        try:
            calibration = cls.model_validate(json.loads(text))
        except (ValueError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise CalibrationMissing(f"{path} is not a valid calibration ({reason}); {remedy}.") from error
        if calibration.weights_sha256 != weights_sha256:
            raise CalibrationMismatched(
                f"{path} belongs to the weights {calibration.weights_sha256[:12]}…, but the loaded weights are "
                f"{weights_sha256[:12]}…; {remedy}."
            )
        return calibration


def neighbours(fitted: Sequence[int], references: int) -> tuple[int, int, float]:
    """Find a number of references among the fitted ones, which are increasing.

    Returns
    -------
    below, above : int
        Indices of the neighbours; equal at a fitted number and beyond the ends.
    part : float
        Place between them in log k, in [0, 1): the weight of the one above.
    """
    place = float(np.interp(math.log(references), np.log(fitted), np.arange(len(fitted))))
    below = math.floor(place)
    return below, math.ceil(place), place - below


@lru_cache(maxsize=16)
def _identifier_of(calibration: Calibration) -> str:
    # Not a cached property: a copy with other values would keep it.
    return hashlib.sha256(calibration.model_dump_json().encode()).hexdigest()[:12]


@lru_cache(maxsize=256)
def _fitted_at(calibration: Calibration, references: int) -> Fitted:
    if references < 1:
        raise ValueError("at least one reference is required")
    below, above, part = neighbours([p.references for p in calibration.parameters], references)
    low, high = calibration.parameters[below], calibration.parameters[above]

    def interpolate(a: float | tuple[float, ...], b: float | tuple[float, ...]) -> Floats:
        return np.asarray((1.0 - part) * np.asarray(a) + part * np.asarray(b), dtype=np.float64)

    probits = np.asarray(ndtri(calibration.levels), dtype=np.float64)
    w0, w1, w2, w3 = interpolate(low.weights, high.weights).tolist()
    return Fitted(
        rule=SetRule(
            weights=(w0, w1, w2, w3),
            spread_weight=float(interpolate(low.spread_weight, high.spread_weight)),
            spread_mean=calibration.spread_mean,
            spread_prior=calibration.spread_prior,
        ),
        slope=float(interpolate(low.slope, high.slope)),
        intercept=float(interpolate(low.intercept, high.intercept)),
        skilled=Curve(interpolate(low.skilled, high.skilled), probits, calibration.floor_skilled),
        random=Curve(interpolate(low.random, high.random), probits, calibration.floor_random),
        genuine=Curve(interpolate(low.genuine, high.genuine), probits, calibration.floor_genuine),
    )
