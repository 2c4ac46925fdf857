"""Uncertainty of a likelihood ratio: the rule of a calibration, fitted again on resampled writers.

The likelihood ratio of a calibration is an estimate from a limited number of writers. With other writers of the same
population it would have been another one. A :class:`Bootstrap` holds the rules that were fitted on resampled writers
(Efron and Tibshirani, "An introduction to the bootstrap", 1993; writers are the unit, because the signatures of one
writer are not independent). The quantiles of their likelihood ratios are an interval. It is made by
:mod:`model.evaluation.calibration_bootstrap` (``python -m model bootstrap``) and saved as ``bootstrap.json`` beside
the calibration that it belongs to.

The interval covers the choice of writers only. It does not cover that the writers of the calibration, their pens,
their forgers and their scanners may differ from those of a case.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.decision.calibration import Calibration, neighbours
from model.decision.distances import Floats
from model.decision.set_rule import SetRule
from model.errors import CalibrationMismatched, CalibrationMissing

FILE = "bootstrap.json"
LEVEL = 0.95
"""Share of the refitted likelihood ratios that an interval contains."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Resampled(_Frozen):
    """The rules for one number of references, one row of each field for each sample of writers.

    Attributes
    ----------
    references : int
        Number of references k.
    weights : tuple of four floats for each sample
    spread_weight, slope, intercept : tuple of float
        As in :class:`model.decision.calibration.Parameters`.
    """

    references: int = Field(ge=1)
    weights: tuple[tuple[float, float, float, float], ...] = Field(min_length=2)
    spread_weight: tuple[float, ...]
    slope: tuple[float, ...]
    intercept: tuple[float, ...]

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not len(self.weights) == len(self.spread_weight) == len(self.slope) == len(self.intercept):
            raise ValueError("each sample must have all parameters")
        return self

    def table(self) -> Floats:
        """Return the parameters as (samples, 7) float64: weights, spread weight, slope, intercept."""
        rest = np.array([self.spread_weight, self.slope, self.intercept]).T
        return np.concatenate([np.array(self.weights), rest], axis=1)


@dataclass(frozen=True)
class Interval:
    """An interval of log10 likelihood ratios, and whether each end is a limit of the calibration's data."""

    low: float
    high: float
    low_is_limit: bool
    high_is_limit: bool


class Bootstrap(_Frozen):
    """Rules that were fitted on resampled writers, for one calibration.

    Attributes
    ----------
    calibration : str
        :attr:`Calibration.identifier` of the calibration.
    samples : int
        Number of samples of writers.
    writers : int
        Number of writers in each sample.
    seed : int
    rules : tuple of Resampled
        Ordered by number of references.
    """

    format: Literal[1] = 1
    calibration: str
    samples: int = Field(ge=2)
    writers: int = Field(ge=2)
    seed: int
    rules: tuple[Resampled, ...] = Field(min_length=1)

    def interval(self, to_references: Floats, among_references: Floats, calibration: Calibration) -> Interval:
        """Compute the interval of the log10 likelihood ratio that contains :data:`LEVEL` of the samples.

        Parameters
        ----------
        to_references : (k,) float64
            Distances of the questioned signature to the references, k >= 1.
        among_references : (k, k) float64
        calibration : Calibration
            The calibration that the rules belong to.

        Raises
        ------
        CalibrationMismatched
            The rules belong to another calibration.
        """
        if calibration.identifier != self.calibration:
            raise CalibrationMismatched(
                f"The bootstrap belongs to the calibration {self.calibration}, not to {calibration.identifier}; run "
                "`python -m model bootstrap`."
            )
        ratios = np.array(
            [
                -(slope * float(rule.score(to_references, among_references)) + intercept) / math.log(10.0)
                for rule, slope, intercept in self._at(len(to_references), calibration)
            ]
        )
        low, high = (float(value) for value in np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
        least, most = calibration.llr_bounds
        return Interval(
            min(max(low, least), most),
            min(max(high, least), most),
            not least < low < most,
            not least < high < most,
        )

    def _at(self, references: int, calibration: Calibration) -> list[tuple[SetRule, float, float]]:
        """Return rule, slope and intercept of each sample, interpolated as the calibration's are."""
        below, above, part = neighbours([rule.references for rule in self.rules], references)
        low, high = self.rules[below].table(), self.rules[above].table()
        rows = ((1.0 - part) * low + part * high).tolist()
        return [
            (
                SetRule(
                    (row[0], row[1], row[2], row[3]),
                    row[4],
                    calibration.spread_mean,
                    calibration.spread_prior,
                ),
                row[5],
                row[6],
            )
            for row in rows
        ]

    def save(self, folder: Path) -> Path:
        """Write ``bootstrap.json`` into a weights folder."""
        path = folder / FILE
        path.write_text(self.model_dump_json() + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, folder: Path, calibration: Calibration) -> Self | None:
        """Read the bootstrap of a weights folder; None when there is none, or it belongs to another calibration.

        Raises
        ------
        CalibrationMissing
            The file cannot be read.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            bootstrap = cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise CalibrationMissing(
                f"{path} cannot be read ({reason}); run `python -m model bootstrap {folder}`, or delete it."
            ) from error
        return bootstrap if bootstrap.calibration == calibration.identifier else None
