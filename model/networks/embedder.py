"""Embedder: the interface between the service and torch, from grey image to canvas to embedding.

:class:`Embedder` encapsulates weights, device and precision. It is thread-safe: the network is in evaluation mode and
is not modified after loading.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.decision.bootstrap import Bootstrap
from model.decision.calibration import Calibration
from model.decision.distances import distances, pairwise
from model.errors import CalibrationMissing, DeviceUnavailable, WeightsMismatched
from model.networks.card import Card
from model.networks.ensemble import LocalEnsemble
from model.networks.folding import fold_norms
from model.networks.local import LocalNetwork
from model.networks.matching import LocalMatching
from model.networks.quantisation import is_worth_quantising, quantise
from model.networks.weights import load_card, load_network
from model.preprocessing.ink import Canvas, Prepared, prepare

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16", "int8"]
PrecisionChoice = Literal["auto", "float32"]

REDUCED_TOLERANCE = 0.005
"""Maximum change of a distance between probes at reduced precision, as a share of the mean distance."""

QUANTISED_PARAMETERS = 500_000
"""Least number of parameters of a network that is quantised: the time of smaller ones is negligible."""

COMPARED_AT_ONCE = 64
"""Rows and columns that local matching compares in one pass; it limits intermediate tables to a few megabytes."""

COMPARED_WITH_ONE = 64
"""References that local matching compares with one embedding in one pass."""

CANDIDATE_BLOCKS = (2, 7)
"""Rows and columns of the blocks of cells in a vector of :meth:`Embedder.candidate_vectors`."""

_log = logging.getLogger(__name__)
_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def to_tensor(canvases: NDArray[np.uint8]) -> torch.Tensor:
    """Convert ``(n, height, width) uint8, ink = 255`` to ``(n, 1, height, width) float32 in [0, 1], ink = 1``."""
    return torch.from_numpy(np.require(canvases, requirements=["C", "W"])).unsqueeze(1).float().div_(255.0)


class Embedder:
    """A network with its weights on a device.

    Attributes
    ----------
    card : Card
        Description of the weights.
    version : str
        ``name@`` and 12 digits of the weights' hash. Templates record it.
    dimension : int
        Length of an embedding.
    metric : {"euclidean", "cosine", "local"}
        Distance by which embeddings are compared.
    device : {"cpu", "cuda"}
    precision : {"float32", "bfloat16", "float16", "int8"}
        Precision of the forward pass: half precision on CUDA devices, 8-bit integers on CPUs that have instructions
        for them, float32 where either would change distances too much. Embeddings are returned as float32 in all
        cases.
    bootstrap : Bootstrap or None
        For the uncertainty of likelihood ratios; None when the weights have none for their calibration.
    """

    def __init__(
        self,
        network: nn.Module,
        card: Card,
        calibration: Calibration | None,
        device: Device = "auto",
        precision: PrecisionChoice = "auto",
    ) -> None:
        self.card = card
        self.version = card.version
        self.dimension = card.dimension
        self.metric = card.metric
        self.device = choose_device(device)
        self._calibration = calibration
        self.bootstrap: Bootstrap | None = None
        self._canvas = card.canvas.canvas()
        fold_norms(network.eval())
        # Channels last takes a quarter less time on a CPU and suits tensor cores.
        self._network = network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch takes both
        self._matching: LocalMatching | None = (
            network.matching if isinstance(network, LocalNetwork | LocalEnsemble) else None
        )
        self.precision: Precision = "float32"
        probe = self.embed(self._probes()[:1])
        if probe.shape[1] != card.dimension:
            raise WeightsMismatched(
                f"The network {card.network!r} returns {probe.shape[1]} numbers, but its card states "
                f"{card.dimension}; restore the weights folder."
            )
        if precision == "auto":
            self._use_reduced_precision()

    @classmethod
    def load(cls, folder: Path, device: Device = "auto", precision: PrecisionChoice = "auto") -> Embedder:
        """Load a released model: weights, card and calibration.

        Raises
        ------
        WeightsError
            A file is missing, damaged or mismatched; the subclass states which.
        DeviceUnavailable
            CUDA is required but not available.
        """
        choose_device(device)
        card = load_card(folder)
        network = load_network(folder, card)
        embedder = cls(network, card, Calibration.load(folder, card.sha256), device, precision)
        embedder.bootstrap = Bootstrap.load(folder, embedder.calibration)
        return embedder

    @classmethod
    def load_uncalibrated(
        cls, folder: Path, device: Device = "auto", precision: PrecisionChoice = "auto"
    ) -> Embedder:
        """Load weights that have no calibration yet. Raises the errors of :meth:`load`."""
        choose_device(device)
        card = load_card(folder)
        return cls(load_network(folder, card), card, None, device, precision)

    @property
    def canvas(self) -> Canvas:
        """Canvas of the network's input."""
        return self._canvas

    @property
    def calibration(self) -> Calibration:
        """Calibration of the weights; raises CalibrationMissing after :meth:`load_uncalibrated`."""
        if self._calibration is None:
            raise CalibrationMissing(
                f"{self.version} was loaded without a calibration; run `python -m model calibrate` first."
            )
        return self._calibration

    def prepare(self, grey: NDArray[np.uint8]) -> Prepared:
        """Isolate the ink of a scan and place it on the network's canvas.

        Parameters
        ----------
        grey : uint8 (height, width)
            255 = white paper.

        Raises
        ------
        UnusableSignature
            The scan has no comparable signature; the subclass states the reason.
        """
        return prepare(grey, self._canvas)

    def embed(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed canvases: ``(n, height, width) uint8, ink = 255`` to ``(n, dimension) float32``; thread-safe.

        All values are rounded to half precision, the precision of stored templates, so that the distance to a
        signature does not depend on whether it was just embedded or read from the store. The rounding changes a
        distance by less than a thousandth of the mean distance between two genuine signatures.
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
        """Compute distances by the card's metric: embeddings (n, d) and (k, d) to (n, k) float64; thread-safe.

        Raises
        ------
        ValueError
            The embeddings have different dimensions.
        """
        if self._matching is None:
            return distances(np.atleast_2d(questioned), references, self.metric)
        if questioned.shape[1:] != (self.dimension,) or references.shape[1:] != (self.dimension,):
            raise ValueError(
                f"expected embeddings of {self.dimension} dimensions, got {questioned.shape} and {references.shape}"
            )
        a, b = (
            torch.from_numpy(np.asarray(rows, dtype=np.float32)).to(self.device)
            for rows in (questioned, references)
        )
        table = np.empty((len(a), len(b)), dtype=np.float64)
        with torch.inference_mode():
            for row in range(0, len(a), COMPARED_AT_ONCE):
                for column in range(0, len(b), COMPARED_AT_ONCE):
                    block = slice(row, row + COMPARED_AT_ONCE), slice(column, column + COMPARED_AT_ONCE)
                    squares = self._matching.table(a[block[0]], b[block[1]])
                    table[block] = squares.clamp_min(0.0).sqrt().cpu().numpy()
        return table

    def compare_one(
        self, questioned: NDArray[np.floating], references: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Compute the distances of one embedding (d,) to many (k, d): (k,) float64; thread-safe.

        They are those of :meth:`compare`, up to rounding, in about an eighth of the time for local matching. The
        references may be float16; they are converted in blocks that fit in the processor's cache.
        """
        if self._matching is None:
            return np.asarray(self.compare(questioned[None], references)[0])
        one = torch.from_numpy(np.asarray(questioned, dtype=np.float32)).to(self.device)
        many = torch.from_numpy(np.asarray(references)).to(self.device)
        distances = np.empty(len(many), dtype=np.float64)
        with torch.inference_mode():
            for row in range(0, len(many), COMPARED_WITH_ONE):
                block = slice(row, row + COMPARED_WITH_ONE)
                squares = self._matching.one_to_many(one, many[block])
                distances[block] = squares.clamp_min(0.0).sqrt().cpu().numpy()
        return distances

    def compare_among(self, references: NDArray[np.floating]) -> NDArray[np.float64]:
        """Compute the distances among embeddings: (k, d) to (k, k) float64, symmetric, zeros on the diagonal."""
        if not len(references):
            return np.zeros((0, 0))
        if self._matching is None:
            return pairwise(references, self.metric)
        table = np.triu(self.compare(references, references), 1)
        return table + table.T

    @property
    def locates_differences(self) -> bool:
        """Whether the distance is a sum over cells, so that :meth:`contributions` can say where it comes from."""
        return self._matching is not None

    def contributions(
        self, questioned: NDArray[np.floating], references: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Compute what each cell of the canvas contributes to squared distances; thread-safe.

        Parameters
        ----------
        questioned : (d,)
        references : (k, d)

        Returns
        -------
        (k, 2, rows, columns) float64
            Not negative. At 0, the cells of the questioned signature, each with its best match in the reference; at
            1, the cells of the reference. The sum over all but the first axis is the squared distance.

        Raises
        ------
        ValueError
            The network compares signatures as a whole (:attr:`locates_differences`), or the dimensions differ.
        """
        if self._matching is None:
            raise ValueError(f"{self.version} compares signatures as a whole, not cell by cell")
        if questioned.shape != (self.dimension,) or references.shape[1:] != (self.dimension,):
            raise ValueError(
                f"expected embeddings of {self.dimension} dimensions, got {questioned.shape} and {references.shape}"
            )
        many = torch.from_numpy(np.asarray(references, dtype=np.float32)).to(self.device)
        one = torch.from_numpy(np.asarray(questioned, dtype=np.float32)).to(self.device).expand(len(many), -1)
        with torch.inference_mode():
            parts = self._matching.contributions(one, many)
        return np.asarray(parts.cpu().numpy(), dtype=np.float64)

    def search_vectors(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Compute vectors for a first search among many: (n, d) to (n, c) float32.

        Their Euclidean distances approximate the order given by :meth:`compare`, so a search should retrieve more
        candidates than needed. For local matching, cells are averaged in blocks of two by two, which tolerates shifts
        by one cell and takes a quarter of the memory.
        """
        vectors = np.asarray(embeddings, dtype=np.float32)
        if self._matching is not None:
            rows, columns = self._matching.grid
            cells = vectors[:, :-1].reshape(len(vectors), rows // 2, 2, columns // 2, 2, -1)
            return np.ascontiguousarray(cells.mean(axis=(2, 4)).reshape(len(vectors), -1))
        if self.metric == "cosine":
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        return np.asarray(vectors, dtype=np.float32)

    def candidate_vectors(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Compute short vectors for an index of candidates among very many: (n, d) to (n, c) float32.

        They are coarser than :meth:`search_vectors`. For local matching, cells are averaged in 2 x 7 blocks. On
        people whom the network has not seen, this finds as many signers as principal components or linear
        discriminants of such a length do, and needs no training (``python -m benchmarks.reductions``).
        """
        if self._matching is None:
            return self.search_vectors(embeddings)
        rows, columns = self._matching.grid
        vectors = torch.from_numpy(np.asarray(embeddings, dtype=np.float32)[:, :-1])
        cells = vectors.reshape(len(vectors), rows, columns, -1).permute(0, 3, 1, 2)
        blocks = torch.nn.functional.adaptive_avg_pool2d(cells, CANDIDATE_BLOCKS)
        return np.asarray(blocks.permute(0, 2, 3, 1).flatten(1).numpy(), dtype=np.float32)

    def warm_up(self) -> None:
        """Embed single images and a batch, so that lazy initialisation does not delay the first request."""
        probes = self._probes()
        for size in (1, 1, len(probes)):
            self.embed(probes[:size])

    def _forward(self, canvases: NDArray[np.uint8], precision: Precision) -> NDArray[np.float32]:
        with (
            torch.inference_mode(),
            torch.autocast(
                self.device, dtype=_HALF.get(precision, torch.bfloat16), enabled=precision in _HALF
            ),
        ):
            embeddings: torch.Tensor = self._network(to_tensor(canvases).to(self.device))
        return np.asarray(embeddings.float().cpu().numpy(), dtype=np.float32)

    def _use_reduced_precision(self) -> None:
        """Compute at reduced precision if that changes no distance between probes by more than the tolerance."""
        probes = self._probes()
        if self.device == "cuda":
            exact = self.compare_among(self._forward(probes, "float32"))
            candidates: tuple[Precision, ...] = ("bfloat16", "float16")
            for precision in candidates:
                if self._is_close(self.compare_among(self._forward(probes, precision)), exact, precision):
                    self.precision = precision
                    return
        elif (
            self._matching is not None
            and self.card.parameters >= QUANTISED_PARAMETERS
            and is_worth_quantising()
        ):
            exact = self.compare_among(self._forward(probes, "float32"))
            float32 = self._network
            self._network = quantise(float32, to_tensor(self._strokes(24, seed=1)))
            if self._is_close(self.compare_among(self._forward(probes, "int8")), exact, "int8"):
                self.precision = "int8"
            else:
                self._network = float32

    @staticmethod
    def _is_close(found: NDArray[np.float64], exact: NDArray[np.float64], precision: Precision) -> bool:
        change = float(np.abs(found - exact).max() / exact.mean())
        if change > REDUCED_TOLERANCE:
            _log.info("%s is not used: it changes distances by up to %.2f %%", precision, 100 * change)
        return change <= REDUCED_TOLERANCE

    def _probes(self) -> NDArray[np.uint8]:
        """Draw eight fixed test images of straight strokes: (8, height, width) uint8."""
        return self._strokes(8, seed=0)

    def _strokes(self, count: int, seed: int) -> NDArray[np.uint8]:
        """Draw images of straight strokes of different widths, like ink on a canvas: (count, height, width) uint8."""
        rng = np.random.default_rng(seed)
        height, width = self._canvas.height, self._canvas.width
        images = np.zeros((count, height, width), dtype=np.uint8)
        for number, image in enumerate(images):
            corners = rng.uniform(0.1, 0.9, size=(12, 2)) * (width, height)
            points = [corners.astype(np.int32)]
            cv2.polylines(
                image, points, isClosed=False, color=255, thickness=1 + number % 4, lineType=cv2.LINE_AA
            )
        return images


def choose_device(device: Device) -> Literal["cpu", "cuda"]:
    """Return the device to use; raises DeviceUnavailable if CUDA is required but not available."""
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            "The device is set to cuda, but no CUDA device is available to torch; install a driver and a CUDA build "
            "of torch, or set the device to auto or cpu."
        )
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
