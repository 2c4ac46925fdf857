"""Rendering of training batches on the device, from master images.

Rendering in :mod:`model.data.augmentation` takes some milliseconds of CPU time for each canvas, and a GPU trains on
tens of thousands of canvases in a second. Here, loader processes only draw which specimens a batch contains and how
they are deformed (:class:`Plan`). All canvases of the batch are then rendered together as tensor operations, on a GPU
or on the CPU.

The augmentations are those of :func:`model.data.augmentation.augment_crop`, without JPEG compression. The outline of
strokes is represented by a distance map, as in C. Green, "Improved alpha-tested magnification for vector textures",
SIGGRAPH 2007. It stays sharp under deformation, and strokes get another width by moving the outline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.data import Dataset as TorchDataset

from model.data.augmentation import INK_LEVEL, Augmentation, stroke_width
from model.data.masters import Masters, in_threads
from model.data.pseudo_writers import WAVES, Deformation
from model.errors import DataError
from model.networks.card import TrainingData
from model.preprocessing.ink import Canvas
from model.training.samplers import Batch, BatchRow, IdentitySampler

Pixels = NDArray[np.uint8]

OUTLINE = 128
"""Value of the distance map at the outline of strokes; 0 is far outside of them."""

STEPS = 16
"""Steps of the distance map per pixel of the master."""

NATURAL = 0.15
"""Share of canvases whose strokes keep the width and the profile of the master."""

COARSE = (44, 88)
"""Rows and columns at which a deformation is computed; it is interpolated between them."""

MEASURED = (96, 192)
"""Rows and columns at which the moments of deformed ink are measured."""

REACH = (4.5, 7.0)
"""Half of the height and of the width of the area in which the moments of deformed ink are measured, in units."""


class MasterSource:
    """The identities of a data set, with the indices of their master images.

    Parameters
    ----------
    masters : Masters
    first : int
        Index of the first image of ``masters`` among the images of all sources.
    """

    def __init__(self, masters: Masters, first: int) -> None:
        starts = first + np.concatenate([[0], np.cumsum(masters.drawings)[:-1]])
        by_signer: dict[str, tuple[list[int], list[int]]] = {}
        for row, (signer, genuine) in enumerate(zip(masters.signers, masters.genuine, strict=True)):
            by_signer.setdefault(signer, ([], []))[0 if genuine else 1].append(row)
        usable = {signer: rows for signer, rows in by_signer.items() if len(rows[0]) >= 2}
        self._rows = list(usable.values())  # genuine, forged
        self._starts, self._drawings = starts, masters.drawings
        self.groups = tuple(signer.partition("/")[2] for signer in usable)
        self.about: TrainingData = masters.about.model_copy(
            update={
                "signers": len(usable),
                "signatures": sum(len(genuine) + len(forged) for genuine, forged in self._rows),
            }
        )

    def count(self, identity: int, *, forged: bool) -> int:
        """Return the number of specimens."""
        return len(self._rows[identity][forged])

    def image(self, identity: int, number: int, rng: np.random.Generator, *, forged: bool) -> int:
        """Return the index of a drawing of a specimen."""
        row = self._rows[identity][forged][number]
        return int(self._starts[row] + rng.integers(self._drawings[row]))


@dataclass(frozen=True)
class Plan:
    """What a batch contains: the images of each row, its deformation, and its label.

    Attributes
    ----------
    step : int
        The batch's number; augmentations are drawn from a generator that it seeds.
    images : int64 (n, 2)
        Indices of the master and of the one that is joined to it, which is the same if there is none.
    joint : float32 (n, 5)
        Scale and offsets (x, y, x, y) of the two images.
    inverse : float32 (n, 2, 2)
        Inverse of the deformation's linear part.
    waves, amplitudes : float32 (n, waves, 2)
    phases : float32 (n, waves)
    identities : int64 (n,)
    forged : bool (n,)
    """

    step: int
    images: torch.Tensor
    joint: torch.Tensor
    inverse: torch.Tensor
    waves: torch.Tensor
    phases: torch.Tensor
    amplitudes: torch.Tensor
    identities: torch.Tensor
    forged: torch.Tensor

    def to(self, device: str) -> Plan:
        """Return the plan with its tensors on a device."""
        tensors = (getattr(self, field.name) for field in fields(self)[1:])
        return Plan(self.step, *(tensor.to(device, non_blocking=True) for tensor in tensors))


class Plans(TorchDataset[Plan]):
    """The plans of a run's batches by step."""

    def __init__(
        self, sampler: IdentitySampler, sources: Sequence[MasterSource], seed: int, steps: int
    ) -> None:
        self._sampler, self._sources, self._seed, self._steps = sampler, sources, seed, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Plan:
        rows = self._sampler.rows(step)
        rng = np.random.default_rng([self._seed, step, 2])
        columns = [_deformation_arrays(row.deformation) for row in rows]
        joint, inverse, waves, phases, amplitudes = (
            torch.from_numpy(np.stack(arrays)) for arrays in zip(*columns, strict=True)
        )
        return Plan(
            step,
            torch.tensor([self._images(row, rng) for row in rows]),
            joint,
            inverse,
            waves,
            phases,
            amplitudes,
            torch.tensor([row.label for row in rows]),
            torch.tensor([row.forged for row in rows]),
        )

    def _images(self, row: BatchRow, rng: np.random.Generator) -> tuple[int, int]:
        source = self._sources[row.source]
        first = source.image(row.identity, row.number, rng, forged=row.forged)
        if row.second is None:
            return first, first
        return first, source.image(*row.second, rng, forged=row.forged)


class Renderer:
    """Master images on a device, and the rendering of batches from them.

    Parameters
    ----------
    sets : sequence of Masters
        The masters of all sources, in the order of their indices.
    canvas : Canvas
        The canvas of the network.
    augmentation : Augmentation
    seed : int
    device : str

    Raises
    ------
    DataError
        There are no masters.
    """

    def __init__(
        self, sets: Sequence[Masters], canvas: Canvas, augmentation: Augmentation, seed: int, device: str
    ) -> None:
        if not sets:
            raise DataError("There are no masters to render from.")
        self._canvas, self._augmentation, self._seed, self._device = canvas, augmentation, seed, device
        height, width = sets[0].canvas.height, sets[0].canvas.width
        total = sum(len(masters.images) for masters in sets)
        # Channels: density and distance map.
        self._images = torch.empty((total, 2, height, width), dtype=torch.uint8, device=device)
        self._widths = torch.empty(total, device=device)
        first = 0
        for masters in sets:
            maps, widths = distance_maps(masters.images)
            rows = slice(first, first + len(masters.images))
            self._images[rows, 0] = torch.from_numpy(masters.images).to(device)
            self._images[rows, 1] = torch.from_numpy(maps).to(device)
            self._widths[rows] = torch.from_numpy(widths).to(device)
            first = rows.stop
        parts = [
            _moments(part[:, 0].float(), self._pixel_grid(height, width))
            for part in torch.split(self._images, 512)
        ]
        self._centres = torch.cat([centre for centre, _ in parts])
        self._units = torch.cat([sigma.clamp_min(1.0).prod(dim=1).sqrt() for _, sigma in parts])
        self._small = torch.cat(
            [functional.avg_pool2d(part[:, :1].float(), 4) for part in torch.split(self._images, 512)]
        ).to(torch.uint8)

    def render(self, plan: Plan) -> Batch:
        """Render the canvases of a batch.

        Returns
        -------
        Batch
            On the renderer's device.
        """
        plan = plan.to(self._device)
        generator = torch.Generator(self._device).manual_seed((self._seed << 32) + plan.step)
        canvases = self._age(*self._strokes(plan, generator), generator)
        return Batch(canvases.mul(255.0).round_().to(torch.uint8), plan.identities, plan.forged)

    def render_plain(self, images: torch.Tensor) -> torch.Tensor:
        """Render masters without augmentation or deformation: indices ``(n,)`` to ``(n, height, width)`` uint8."""
        n = len(images)
        identity = torch.eye(2).expand(n, 2, 2)
        plan = Plan(
            0,
            torch.stack([images, images], dim=1),
            torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0]).expand(n, 5),
            identity,
            torch.zeros(n, 1, 2),
            torch.zeros(n, 1),
            torch.zeros(n, 1, 2),
            images,
            torch.zeros(n, dtype=torch.bool),
        ).to(self._device)
        centre, scale = self._placement(plan)
        grid = self._canvas_grid(self._canvas.height, self._canvas.width)
        sources = self._sources(grid / scale[:, None, None, None] + centre[:, None, None], plan)
        density = self._sample(self._images[:, :1], plan, sources)[0][:, 0]
        return density.mul(255.0).round_().to(torch.uint8)

    def _strokes(self, plan: Plan, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Deform and place the ink and give its strokes another width: ``(n, h, w)`` in [0, 1].

        The second result is a random number for each row that :meth:`_age` must not use again.
        """
        n, device, ranges = len(plan.images), self._device, self._augmentation
        height, width = self._canvas.height, self._canvas.width
        draws = torch.rand(n, 10, generator=generator, device=device)
        signed = 2.0 * draws - 1.0
        centre, scale = self._placement(plan)
        positions = self._canvas_grid(*COARSE).expand(n, *COARSE, 2)
        positions = positions + self._elastic(n, generator)
        positions = positions - signed[:, None, None, 0:2] * ranges.shift * torch.tensor(
            [width, height], device=device
        )
        positions = _transformed(positions, _inverse_affine(signed[:, 2:6], ranges))
        sources = self._sources(positions / scale[:, None, None, None] + centre[:, None, None], plan)
        sources = functional.interpolate(
            sources.permute(0, 3, 1, 2), size=(height, width), mode="bilinear", align_corners=True
        ).permute(0, 2, 3, 1)
        parts = self._sample(self._images, plan, sources)
        # Pixels of the canvas per pixel of the master.
        scales = scale * plan.joint[:, 0]
        first, second = ((scales / self._units[plan.images[:, side]]) for side in (0, 1))
        unit = 255.0 / STEPS
        inside = torch.maximum(
            (parts[0][:, 1] - OUTLINE / 255.0) * (unit * first)[:, None, None],
            (parts[1][:, 1] - OUTLINE / 255.0) * (unit * second)[:, None, None],
        )
        density = torch.maximum(parts[0][:, 0], parts[1][:, 0])
        present = 0.5 * (self._widths[plan.images[:, 0]] * first + self._widths[plan.images[:, 1]] * second)
        low, high = np.log(ranges.widths or (1.0, 1.0))
        wanted = torch.exp(low + (high - low) * draws[:, 6])
        moved = (0.5 * (wanted - present))[:, None, None]
        cover = (inside + moved + 0.5).clamp(0.0, 1.0)
        ridge = (inside > -0.3) & (inside >= _largest(inside, 3) - 0.2)
        thinner = torch.maximum(cover, 0.7 * ridge) * _largest(density, 3)
        thicker = cover * _largest(density, 5)
        changed = torch.where(moved <= 0, thinner, thicker)
        natural = (draws[:, 7] < NATURAL) & (plan.joint[:, 0] == 1.0)
        return torch.where(natural[:, None, None], density, changed), draws[:, 8:]

    def _placement(self, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
        """Measure the deformed ink: its centroid ``(n, 2)`` in units, and ``(n,)`` pixels of the canvas per unit.

        The ink is placed as by :func:`model.preprocessing.ink.placement`.
        """
        rows, columns = (
            torch.linspace(-reach, reach, size, device=self._device)
            for reach, size in zip(REACH, MEASURED, strict=True)
        )
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        sources = self._sources(grid.expand(len(plan.images), *grid.shape), plan)
        first, second = self._sample(self._small, plan, sources)
        centre, sigma = _moments(torch.maximum(first, second)[:, 0], grid)
        size = (
            torch.tensor([self._canvas.width, self._canvas.height], device=self._device) * self._canvas.fill
        )
        return centre, (size / (4.4 * sigma.clamp_min(0.05))).amin(dim=1)

    def _sources(self, positions: torch.Tensor, plan: Plan) -> torch.Tensor:
        """Map positions in units after the deformation to those before it: ``(n, h, w, 2)`` to the same."""
        moved = _transformed(positions, plan.inverse)
        # Written out: batches of matrix products with 2 x 2 matrices are slow on a GPU.
        x, y = moved[..., :1], moved[..., 1:]
        waves, amplitudes = plan.waves[:, None, None], plan.amplitudes[:, None, None]
        bend = torch.sin(x * waves[..., 0] + y * waves[..., 1] + plan.phases[:, None, None])
        return moved + torch.stack([(bend * amplitudes[..., axis]).sum(dim=-1) for axis in (0, 1)], dim=-1)

    def _sample(self, images: torch.Tensor, plan: Plan, sources: torch.Tensor) -> list[torch.Tensor]:
        """Sample both masters of each row at positions in units: twice ``(n, channels, h, w)`` in [0, 1]."""
        height, width = self._images.shape[2:]
        half = 0.5 * torch.tensor([width, height], device=self._device, dtype=torch.float32)
        sampled = []
        for side in (0, 1):
            offset = plan.joint[:, None, None, 1 + 2 * side : 3 + 2 * side]
            local = (sources - offset) / plan.joint[:, None, None, :1]
            chosen = plan.images[:, side]
            grid = local * self._units[chosen][:, None, None, None] + self._centres[chosen][:, None, None]
            sampled.append(
                functional.grid_sample(
                    images[chosen].float().div_(255.0), grid / half, align_corners=False, padding_mode="zeros"
                )
            )
        return sampled

    def _elastic(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Draw smooth displacements for some of the rows: ``(n, *COARSE, 2)`` pixels."""
        field = torch.randn(n, 2, 4, 6, generator=generator, device=self._device)
        smooth = functional.interpolate(field, size=COARSE, mode="bicubic", align_corners=True)
        chosen = torch.rand(n, generator=generator, device=self._device) < self._augmentation.elastic
        return (0.01 * self._canvas.height * chosen)[:, None, None, None] * smooth.permute(0, 2, 3, 1)

    def _age(self, canvases: torch.Tensor, draws: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Apply the effects of pens and scanners, as :func:`model.data.augmentation.age_scan` does."""
        ranges, (n, height, width) = self._augmentation, canvases.shape
        u = torch.rand(n, 12, generator=generator, device=self._device)

        def some(chosen: torch.Tensor, changed: torch.Tensor, unchanged: torch.Tensor) -> torch.Tensor:
            return torch.where(chosen[:, None, None], changed, unchanged)

        # Another pen, paper or threshold: blur, then a steeper or flatter transition from paper to ink.
        gain = torch.exp(math.log(0.9) + (math.log(4.0) - math.log(0.9)) * u[:, 1])
        bias = torch.where(gain > 1.5, u[:, 2] * (40.0 / 255.0), 0.0)
        spread = (_blur(canvases, 0.4 + 0.8 * u[:, 0]) - bias[:, None, None]) * gain[:, None, None]
        spread = spread.clamp(0.0, 1.0)
        full = _inked_percentile(spread, 20.0 / 255.0).clamp_min(30.0 / 255.0)
        out = some(u[:, 3] < ranges.ink, (spread / full[:, None, None]).clamp(max=1.0), canvases)
        field = 0.55 + 0.45 * torch.rand(n, 1, 5, 10, generator=generator, device=self._device)
        fade = functional.interpolate(field, size=(height, width), mode="bicubic", align_corners=True)[:, 0]
        out = some(u[:, 4] < ranges.uneven, (out * fade).clamp(0.0, 1.0), out)
        out = out ** torch.exp((2.0 * u[:, 5] - 1.0) * ranges.gamma)[:, None, None]
        out = some(u[:, 6] < ranges.blur, _blur(out, 0.3 + 0.7 * u[:, 7]), out)
        grain = torch.randn(out.shape, generator=generator, device=self._device)
        grain = grain * ((6.0 + 24.0 * u[:, 8]) / 255.0)[:, None, None] * (out > 16.0 / 255.0)
        out = some(u[:, 9] < ranges.noise, (out + grain).clamp(0.0, 1.0), out)
        level = (70.0 + 90.0 * draws[:, 1]) / 255.0
        half = torch.full((n,), 0.5, device=self._device)
        return some(draws[:, 0] < ranges.bitonal, _blur((out > level[:, None, None]).float(), half), out)

    def _canvas_grid(self, rows: int, columns: int) -> torch.Tensor:
        """Positions of the canvas relative to its centre: ``(rows, columns, 2)``, x and y in pixels."""
        half_width, half_height = 0.5 * (self._canvas.width - 1), 0.5 * (self._canvas.height - 1)
        x = torch.linspace(-half_width, half_width, columns, device=self._device)
        y = torch.linspace(-half_height, half_height, rows, device=self._device)
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)

    def _pixel_grid(self, height: int, width: int) -> torch.Tensor:
        x = torch.arange(width, device=self._device) - 0.5 * (width - 1)
        y = torch.arange(height, device=self._device) - 0.5 * (height - 1)
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def distance_maps(images: Pixels) -> tuple[Pixels, NDArray[np.float32]]:
    """Compute distance maps and stroke widths of isolated ink, in one thread per core.

    Parameters
    ----------
    images : uint8 (n, h, w)

    Returns
    -------
    maps : uint8 (n, h, w)
        :data:`OUTLINE` at the outline, more inside of strokes, by :data:`STEPS` for each pixel.
    widths : float32 (n,)
        Mean stroke width in pixels.
    """
    maps = np.empty_like(images)
    widths = np.empty(len(images), dtype=np.float32)

    def compute(index: int) -> None:
        # At twice the resolution, so that the outline is found more exactly than by whole pixels.
        large = cv2.resize(images[index], None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        mask = cv2.threshold(large, INK_LEVEL, 1, cv2.THRESH_BINARY)[1]
        # Inside minus outside distance. Both count from the middle of a pixel, so half a pixel too much cancels.
        signed = cv2.subtract(
            cv2.distanceTransform(mask, cv2.DIST_L2, 3), cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)
        )
        small = cv2.resize(signed, images.shape[:0:-1], interpolation=cv2.INTER_AREA)
        maps[index] = np.clip(np.rint(small * (0.5 * STEPS) + OUTLINE), 0, 255)
        widths[index] = 0.5 * stroke_width(large)

    in_threads(compute, len(images))
    return maps, widths


def _deformation_arrays(deformation: Deformation | None) -> tuple[NDArray[np.float32], ...]:
    """The columns of a :class:`Plan` for one row: joint, inverse, waves, phases and amplitudes."""
    joint = np.array([1.0, 0.0, 0.0, 0.0, 0.0], dtype=np.float32)
    if deformation is None:
        flat = np.zeros((WAVES, 2), dtype=np.float32)
        return joint, np.eye(2, dtype=np.float32), flat, np.zeros(WAVES, dtype=np.float32), flat
    if deformation.joint is not None:
        joint = np.array([deformation.joint.scale, *np.ravel(deformation.joint.offsets)], dtype=np.float32)
    return (
        joint,
        np.linalg.inv(deformation.linear).astype(np.float32),
        deformation.waves.astype(np.float32),
        deformation.phases.astype(np.float32),
        deformation.amplitudes.astype(np.float32),
    )


def _inverse_affine(signed: torch.Tensor, ranges: Augmentation) -> torch.Tensor:
    """Inverses of random linear transformations: ``(n, 4)`` in [-1, 1] to ``(n, 2, 2)``.

    The transformations are those of :func:`model.data.augmentation.random_affine`.
    """
    angle = signed[:, 0] * math.radians(ranges.rotation)
    scale = torch.exp(signed[:, 1] * ranges.scale)
    aspect = torch.exp(signed[:, 2] * ranges.aspect / 2.0)
    shear = signed[:, 3] * ranges.shear
    rotate_back = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    # Inverse of [[aspect, shear], [0, 1 / aspect]], whose determinant is 1.
    unshear = torch.stack([1.0 / aspect, -shear, torch.zeros_like(shear), aspect], dim=1).view(-1, 2, 2)
    return unshear @ rotate_back / scale[:, None, None]


def _transformed(positions: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Multiply positions ``(n, h, w, 2)`` by the matrices ``(n, 2, 2)``."""
    x, y = positions[..., :1], positions[..., 1:]
    columns = matrices[:, None, None]
    return x * columns[..., 0] + y * columns[..., 1]


def _moments(density: torch.Tensor, grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centroids and standard deviations of ink, ``(n, 2)`` each, from ``(n, h, w)`` and positions ``(h, w, 2)``."""
    weights = density.flatten(1)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-6)
    positions = grid.reshape(-1, 2)
    centre = weights @ positions
    squares = weights @ positions.square()
    return centre, (squares - centre.square()).clamp_min(0.0).sqrt()


def _largest(images: torch.Tensor, side: int) -> torch.Tensor:
    return functional.max_pool2d(images.unsqueeze(1), side, 1, side // 2)[:, 0]


def _blur(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Blur each image ``(n, h, w)`` by a Gaussian of its own standard deviation ``(n,)``, at most 1.2 pixels."""
    taps = torch.arange(-3, 4, device=images.device)
    kernel = torch.exp(-0.5 * (taps / sigma[:, None]).square())
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    height, width = images.shape[1:]
    padded = functional.pad(images, (3, 3, 3, 3))
    rows = torch.zeros(len(images), height, width + 6, device=images.device)
    for tap in range(7):
        rows = torch.addcmul(rows, padded[:, tap : tap + height], kernel[:, tap, None, None])
    out = torch.zeros_like(images)
    for tap in range(7):
        out = torch.addcmul(out, rows[:, :, tap : tap + width], kernel[:, tap, None, None])
    return out


def _inked_percentile(images: torch.Tensor, ink: float) -> torch.Tensor:
    """The 90th percentile of the values above ``ink`` in each image: ``(n, h, w)`` to ``(n,)``; 1 without ink."""
    # A quarter of the pixels is enough.
    values = images[:, ::2, ::2].flatten(1).sort(dim=1, descending=True).values
    count = (values > ink).sum(dim=1)
    percentile = values.gather(1, (0.1 * count).long()[:, None])[:, 0]
    return torch.where(count > 0, percentile, 1.0)
