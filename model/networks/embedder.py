"""Weights, device and precision behind one door: grey image -> canvas -> embedding.

This is all the service sees of torch. An :class:`Embedder` may be shared by threads: the network is in evaluation
mode and nothing in it is written to after loading.
"""

from __future__ import annotations

import logging
from itertools import pairwise as neighbours
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.decision.calibration import Calibration
from model.decision.distances import distances, pairwise
from model.errors import CalibrationMissing, DeviceUnavailable, WeightsMismatched
from model.networks.card import Card
from model.networks.folding import fold_norms
from model.networks.local import LocalNetwork
from model.networks.weights import load_card, load_network
from model.preprocessing.ink import Canvas, Prepared, prepare

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]

HALF_TOLERANCE = 0.005
"""Half precision is used when it moves no distance between probes by more than this share of the mean distance."""

COMPARED_AT_ONCE = 64
"""Rows and columns that local matching compares in one pass: its intermediate tables take some megabytes."""

_log = logging.getLogger(__name__)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def to_tensor(canvases: NDArray[np.uint8]) -> torch.Tensor:
    """``(n, height, width) uint8, ink = 255`` to ``(n, 1, height, width) float32 in [0, 1], ink = 1``."""
    return torch.from_numpy(np.ascontiguousarray(canvases)).unsqueeze(1).float().div_(255.0)


class Embedder:
    """A network with its weights on a device.

    Attributes
    ----------
    card : Card
        What the weights are.
    version : str
        ``name@`` and 12 digits of the weights' hash; templates carry it.
    dimension : int
        Length of an embedding.
    metric : {"euclidean", "cosine", "local"}
        The distance that embeddings are compared by.
    device : {"cpu", "cuda"}
    precision : {"float32", "bfloat16", "float16"}
        Of the forward pass; embeddings come out as float32 in every case.
    """

    def __init__(
        self, network: nn.Module, card: Card, calibration: Calibration | None, device: Device = "auto"
    ) -> None:
        self.card = card
        self.version = card.version
        self.dimension = card.dimension
        self.metric = card.metric
        self.device = choose_device(device)
        self._calibration = calibration
        self._canvas = card.canvas.canvas()
        fold_norms(network.eval())
        # Channels last: a quarter less time on a CPU, and what tensor cores want.
        self._network = network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch takes both
        self.precision: Precision = "float32"
        probe = self.embed(self._probes()[:1])
        if probe.shape[1] != card.dimension:
            raise WeightsMismatched(
                f"The network {card.network!r} gives {probe.shape[1]} numbers, its card says {card.dimension}; "
                "restore the weights folder."
            )
        if self.device == "cuda":
            self.precision = self._fastest_equal_precision()

    @classmethod
    def load(cls, folder: Path, device: Device = "auto") -> Embedder:
        """Load a released model: weights, card and calibration.

        Raises
        ------
        WeightsError
            Anything missing, damaged or mismatched in the folder, each as its own subclass.
        DeviceUnavailable
            CUDA was demanded and there is none.
        """
        choose_device(device)
        card = load_card(folder)
        network = load_network(folder, card)
        return cls(network, card, Calibration.load(folder, card.sha256), device)

    @classmethod
    def load_uncalibrated(cls, folder: Path, device: Device = "auto") -> Embedder:
        """Load weights whose calibration has yet to be fitted; raises as :meth:`load` does."""
        choose_device(device)
        card = load_card(folder)
        return cls(load_network(folder, card), card, None, device)

    @property
    def canvas(self) -> Canvas:
        """The canvas that the network looks at."""
        return self._canvas

    @property
    def calibration(self) -> Calibration:
        """What turns distances into decisions; raises CalibrationMissing after :meth:`load_uncalibrated`."""
        if self._calibration is None:
            raise CalibrationMissing(
                f"{self.version} was loaded without a calibration; run `python -m model calibrate` first."
            )
        return self._calibration

    def prepare(self, grey: NDArray[np.uint8]) -> Prepared:
        """Isolate the ink of a scan and put it on the network's canvas.

        Parameters
        ----------
        grey : uint8 (height, width)
            255 = white paper.

        Raises
        ------
        UnusableSignature
            Subclasses say why.
        """
        return prepare(grey, self._canvas)

    def embed(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(n, height, width) uint8, ink = 255`` to ``(n, dimension) float32``; thread-safe.

        Every number is one of half precision: that is what is stored of a template, and a signature has to be at the
        same distance whether it has just been embedded or was read from the store. It moves a distance by less than a
        thousandth of the mean distance between two genuine signatures.
        """
        expected = (self._canvas.height, self._canvas.width)
        if canvases.ndim != 3 or canvases.shape[1:] != expected or canvases.dtype != np.uint8:
            raise ValueError(
                f"expected (n, {expected[0]}, {expected[1]}) uint8, got {canvases.shape} {canvases.dtype}"
            )
        if len(canvases) == 0:
            return np.empty((0, self.dimension), dtype=np.float32)
        return self._forward(canvases, self.precision).astype(np.float16).astype(np.float32)

    def compare(
        self, questioned: NDArray[np.floating], references: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Distances by the card's metric: embeddings (n, d) and (k, d) to (n, k) float64; thread-safe.

        Raises
        ------
        ValueError
            The embeddings are of different dimensions.
        """
        if not isinstance(self._network, LocalNetwork):
            return distances(np.atleast_2d(questioned), references, self.metric)
        if questioned.shape[1:] != (self.dimension,) or references.shape[1:] != (self.dimension,):
            raise ValueError(
                f"embeddings of {self.dimension} dimensions expected, got {questioned.shape} and {references.shape}"
            )
        matching = self._network.matching
        a, b = (
            torch.from_numpy(np.asarray(rows, dtype=np.float32)).to(self.device)
            for rows in (questioned, references)
        )
        table = np.empty((len(a), len(b)), dtype=np.float64)
        with torch.inference_mode():
            for row in range(0, len(a), COMPARED_AT_ONCE):
                for column in range(0, len(b), COMPARED_AT_ONCE):
                    part = slice(row, row + COMPARED_AT_ONCE), slice(column, column + COMPARED_AT_ONCE)
                    squares = matching.table(a[part[0]], b[part[1]])
                    table[part] = squares.clamp_min(0.0).sqrt().cpu().numpy()
        return table

    def compare_among(self, references: NDArray[np.floating]) -> NDArray[np.float64]:
        """Distances among embeddings: (k, d) to (k, k) float64, symmetric, zeros on the diagonal."""
        if not isinstance(self._network, LocalNetwork):
            return pairwise(references, self.metric)
        table = np.triu(self.compare(references, references), 1)
        return table + table.T

    def search_vectors(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vectors whose Euclidean distances rank like :meth:`compare`: (n, d) to (n, c) float32.

        For a first search among many. By local matching, neighbouring cells are averaged two by two: what lies one
        cell off still meets its like, and a search takes a quarter of the memory. Their order is not that of the
        exact distances, so more candidates have to be taken than are wanted.
        """
        vectors = np.asarray(embeddings, dtype=np.float32)
        if isinstance(self._network, LocalNetwork):
            rows, columns = self._network.matching.grid
            cells = vectors[:, :-1].reshape(len(vectors), rows // 2, 2, columns // 2, 2, -1)
            return np.ascontiguousarray(cells.mean(axis=(2, 4)).reshape(len(vectors), -1))
        if self.metric == "cosine":
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        return np.asarray(vectors, dtype=np.float32)

    def warm_up(self) -> None:
        """Run single images and a batch, so that the first request does not pay for lazy initialisation."""
        probes = self._probes()
        for size in (1, 1, len(probes)):
            self.embed(probes[:size])

    def _forward(self, canvases: NDArray[np.uint8], precision: Precision) -> NDArray[np.float32]:
        with (
            torch.inference_mode(),
            torch.autocast(self.device, dtype=_DTYPES[precision], enabled=precision != "float32"),
        ):
            embeddings: torch.Tensor = self._network(to_tensor(canvases).to(self.device))
        return np.asarray(embeddings.float().cpu().numpy(), dtype=np.float32)

    def _fastest_equal_precision(self) -> Precision:
        probes = self._probes()
        exact = self.compare_among(self._forward(probes, "float32"))
        candidates: tuple[Precision, ...] = ("bfloat16", "float16")
        for precision in candidates:
            moved = float(np.abs(self.compare_among(self._forward(probes, precision)) - exact).max())
            if moved <= HALF_TOLERANCE * float(exact.mean()):
                return precision
            _log.info("%s moves distances by up to %.4f: not used", precision, moved)
        return "float32"

    def _probes(self) -> NDArray[np.uint8]:
        """Eight scribbles of straight strokes, the same every time: (8, height, width) uint8."""
        rng = np.random.default_rng(0)
        height, width = self._canvas.height, self._canvas.width
        along = np.linspace(0.0, 1.0, 4 * max(height, width))
        probes = np.zeros((8, height, width), dtype=np.uint8)
        for probe in probes:
            corners = rng.uniform(0.1, 0.9, size=(12, 2))
            for start, end in neighbours(corners):
                points = start + along[:, None] * (end - start)
                probe[(points[:, 0] * height).astype(int), (points[:, 1] * width).astype(int)] = 255
        return probes


def choose_device(device: Device) -> Literal["cpu", "cuda"]:
    """The device to run on; raises DeviceUnavailable when CUDA is demanded and absent."""
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            "The device is set to cuda, but torch finds no CUDA device; install a driver and a CUDA build of torch, "
            "or set the device to auto or cpu."
        )
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
