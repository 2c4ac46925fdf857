"""Which strokes of a crop belong to the signature, and which lie beside and across them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.preprocessing.regions import MEASURES, find_regions
from model.preprocessing.segmentation import Grey

Matrix = NDArray[np.float64]

REACH = 4.0
"""Standard deviations from the mean at which measures are cut off."""


@dataclass(frozen=True)
class StrokeRule:
    """Rates regions of ink by their measures: a network with two hidden layers of rectified units.

    It is fitted for a segmentation network by :mod:`model.documents.strokes`, and lies beside it in ``strokes.json``.

    Attributes
    ----------
    mean, deviation : float64 (m,)
        Of each measure, where the rule was fitted.
    layers : sequence of (float64 (outputs, inputs), float64 (outputs,))
        Weights and biases.
    least : float
        Log-odds from which a region belongs to the signature.
    """

    mean: Matrix
    deviation: Matrix
    layers: tuple[tuple[Matrix, Matrix], ...]
    least: float

    def log_odds(self, measures: Matrix) -> Matrix:
        """Compute the log-odds that regions belong to the signature: (n, m) to (n,)."""
        values = np.clip((measures - self.mean) / self.deviation, -REACH, REACH)
        *hidden, (weights, biases) = self.layers
        for inner, inner_biases in hidden:
            values = np.maximum(values @ inner.T + inner_biases, 0.0)
        return np.asarray((values @ weights.T + biases)[:, 0])

    def mask(self, darkness: Grey, probability: Grey, strokes: Grey) -> Grey:
        """Mark the strokes of a signature in a crop.

        Parameters
        ----------
        darkness, probability : uint8 (h, w)
            Of the paper to black ink, and that a pixel belongs to a signature; 255 = black, and 1.
        strokes : uint8 (h, w)
            1 where strokes of the signature were found.

        Returns
        -------
        uint8 (h, w)
            255 where the signature is, with a rim of one pixel; 0 elsewhere.
        """
        regions = find_regions(darkness, probability, strokes)
        return regions.mask(self.log_odds(regions.measures) >= self.least)

    @classmethod
    def load(cls, path: Path) -> StrokeRule:
        """Read the file; raises OSError, ValueError or KeyError if it is missing or damaged."""
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["measures"] != list(MEASURES):
            raise ValueError(
                f"{path} was fitted on other measures; fit it with python -m model.documents.strokes"
            )
        layers = tuple((np.array(layer["weights"]), np.array(layer["biases"])) for layer in found["layers"])
        return cls(np.array(found["mean"]), np.array(found["deviation"]), layers, found["least"])

    def save(self, path: Path, rates: dict[str, float]) -> None:
        """Write the file, with what was measured when the rule was fitted."""
        content = {
            "measures": MEASURES,
            "rates": rates,
            "least": self.least,
            "mean": np.round(self.mean, 5).tolist(),
            "deviation": np.round(self.deviation, 5).tolist(),
            "layers": [
                {"weights": np.round(weights, 4).tolist(), "biases": np.round(biases, 4).tolist()}
                for weights, biases in self.layers
            ],
        }
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")
