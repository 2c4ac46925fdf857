"""Rendering of training batches on the device, from master images.

Rendering in :mod:`model.data.augmentation` takes some milliseconds of CPU time for each canvas, and a GPU trains on
tens of thousands of canvases in a second. Here, loader processes only draw which specimens a batch contains and how
they are deformed (:class:`~model.training.plans.Plan`). All canvases of the batch are then rendered together as
tensor operations, on a GPU or on the CPU.

The augmentations are those of :func:`model.data.augmentation.augment_crop`, without JPEG compression. The outline of
strokes is represented by a distance map, as in C. Green, "Improved alpha-tested magnification for vector textures",
SIGGRAPH 2007. It stays sharp under deformation, and strokes get another width by moving the outline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from model.data.augmentation import INK_LEVEL, Augmentation, stroke_width
from model.data.masters import Masters, in_threads
from model.errors import DataError
from model.preprocessing.ink import Canvas
from model.training.plans import Plan
from model.training.samplers import Batch

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


@dataclass(frozen=True)
class _Draws:
    """Random numbers for some rows of a batch.

    They are drawn for all rows, so that those of one row do not depend on the choice.

    Attributes
    ----------
    generator : torch.Generator
    total : int
        Number of rows of the batch.
    rows : int64 (m,)
        The rows that are rendered.
    """

    generator: torch.Generator
    total: int
    rows: torch.Tensor

    def uniform(self, *shape: int) -> torch.Tensor:
        """Draw ``(m, *shape)`` from [0, 1)."""
        device = self.generator.device
        return torch.rand(self.total, *shape, generator=self.generator, device=device)[self.rows]

    def normal(self, *shape: int) -> torch.Tensor:
        """Draw ``(m, *shape)`` from the standard normal distribution."""
        device = self.generator.device
        return torch.randn(self.total, *shape, generator=self.generator, device=device)[self.rows]


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
        pixels = self._grid(height, width, 0.5 * (height - 1), 0.5 * (width - 1))
        parts = [_moments(part[:, 0].float(), pixels) for part in torch.split(self._images, 512)]
        self._centres = torch.cat([centre for centre, _ in parts])
        self._units = torch.cat([sigma.clamp_min(1.0).prod(dim=1).sqrt() for _, sigma in parts])
        self._small = torch.cat(
            [functional.avg_pool2d(part[:, :1].float(), 4) for part in torch.split(self._images, 512)]
        ).to(torch.uint8)

    def render(self, plan: Plan, rows: NDArray[np.int64] | None = None) -> Batch:
        """Render canvases of a batch.

        Parameters
        ----------
        rows : int64 (m,), optional
            The rows to render; all by default. A row is the same whichever others are rendered.

        Returns
        -------
        Batch
            On the renderer's device.
        """
        plan = plan.to(self._device)
        generator = torch.Generator(self._device).manual_seed((self._seed << 32) + plan.step)
        chosen = torch.arange(len(plan.images)) if rows is None else torch.from_numpy(rows)
        draws = _Draws(generator, len(plan.images), chosen.to(self._device))
        canvases = self._age(self._strokes(plan.of(draws.rows), draws), draws)
        return Batch(canvases.mul(255.0).round_().to(torch.uint8), plan.identities, plan.forged)

    def render_plain(self, images: torch.Tensor) -> torch.Tensor:
        """Render masters without augmentation or deformation: indices ``(n,)`` to ``(n, height, width)`` uint8."""
        n = len(images)
        identity = torch.eye(2).expand(n, 2, 2)
        plan = Plan(
            0,
            torch.stack([images, images], dim=1),
            torch.empty(0, dtype=torch.int64),
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
        density = self._sample(self._images[:, :1], plan, sources, 0)[:, 0]
        return density.mul(255.0).round_().to(torch.uint8)

    def _strokes(self, plan: Plan, drawn: _Draws) -> torch.Tensor:
        """Deform and place the ink and give its strokes another width: ``(n, h, w)`` in [0, 1]."""
        n, device, ranges = len(plan.images), self._device, self._augmentation
        height, width = self._canvas.height, self._canvas.width
        draws = drawn.uniform(8)
        signed = 2.0 * draws - 1.0
        centre, scale = self._placement(plan)
        positions = self._canvas_grid(*COARSE).expand(n, *COARSE, 2)
        positions = positions + self._elastic(drawn)
        positions = positions - signed[:, None, None, 0:2] * ranges.shift * torch.tensor(
            [width, height], device=device
        )
        positions = _transformed(positions, _inverse_affine(signed[:, 2:6], ranges))
        sources = self._sources(positions / scale[:, None, None, None] + centre[:, None, None], plan)
        sources = functional.interpolate(
            sources.permute(0, 3, 1, 2), size=(height, width), mode="bilinear", align_corners=True
        ).permute(0, 2, 3, 1)
        # Pixels of the canvas per pixel of the master.
        scales = scale * plan.joint[:, 0]
        first, second = (scales / self._units[plan.images[:, side]] for side in (0, 1))
        density, inside = self._ink(self._sample(self._images, plan, sources, 0), first)
        rows = plan.joined
        other = self._ink(self._sample(self._images, plan, sources, 1, rows), second[rows])
        density[rows], inside[rows] = (
            torch.maximum(density[rows], other[0]),
            torch.maximum(inside[rows], other[1]),
        )
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
        return torch.where(natural[:, None, None], density, changed)

    @staticmethod
    def _ink(sampled: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Split samples ``(n, 2, h, w)`` into densities and distances inside of the outline in canvas pixels."""
        return sampled[:, 0], (sampled[:, 1] * 255.0 - OUTLINE) * (scale / STEPS)[:, None, None]

    def _placement(self, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
        """Measure the deformed ink: its centroid ``(n, 2)`` in units, and ``(n,)`` pixels of the canvas per unit.

        The ink is placed as by :func:`model.preprocessing.ink.placement`.
        """
        grid = self._grid(*MEASURED, *REACH)
        sources = self._sources(grid.expand(len(plan.images), *grid.shape), plan)
        ink = self._sample(self._small, plan, sources, 0)[:, 0]
        second = self._sample(self._small, plan, sources, 1, plan.joined)[:, 0]
        ink[plan.joined] = torch.maximum(ink[plan.joined], second)
        centre, sigma = _moments(ink, grid)
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

    def _sample(
        self,
        images: torch.Tensor,
        plan: Plan,
        sources: torch.Tensor,
        side: int,
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Sample the first (``side`` 0) or second master of rows at positions in units.

        Parameters
        ----------
        images : uint8 (masters, channels, h', w')
        sources : (n, h, w, 2)
        rows : int64 (m,), optional
            The rows to sample; all by default.

        Returns
        -------
        (m, channels, h, w) in [0, 1]
        """
        chosen, joint = plan.images[:, side], plan.joint
        if rows is not None:
            chosen, joint, sources = chosen[rows], joint[rows], sources[rows]
        height, width = self._images.shape[2:]
        half = 0.5 * torch.tensor([width, height], device=self._device, dtype=torch.float32)
        local = (sources - joint[:, None, None, 1 + 2 * side : 3 + 2 * side]) / joint[:, None, None, :1]
        grid = local * self._units[chosen][:, None, None, None] + self._centres[chosen][:, None, None]
        return functional.grid_sample(
            images[chosen].float().div_(255.0), grid / half, align_corners=False, padding_mode="zeros"
        )

    def _elastic(self, draws: _Draws) -> torch.Tensor:
        """Draw smooth displacements for some of the rows: ``(n, *COARSE, 2)`` pixels."""
        field = draws.normal(2, 4, 6)
        smooth = functional.interpolate(field, size=COARSE, mode="bicubic", align_corners=True)
        chosen = draws.uniform() < self._augmentation.elastic
        return (0.01 * self._canvas.height * chosen)[:, None, None, None] * smooth.permute(0, 2, 3, 1)

    def _age(self, canvases: torch.Tensor, draws: _Draws) -> torch.Tensor:
        """Apply the effects of pens and scanners, as :func:`model.data.augmentation.age_scan` does."""
        ranges, (n, height, width) = self._augmentation, canvases.shape
        u = draws.uniform(12)

        def some(chosen: torch.Tensor, changed: torch.Tensor, unchanged: torch.Tensor) -> torch.Tensor:
            return torch.where(chosen[:, None, None], changed, unchanged)

        # Another pen, paper or threshold: blur, then a steeper or flatter transition from paper to ink.
        gain = torch.exp(math.log(0.9) + (math.log(4.0) - math.log(0.9)) * u[:, 1])
        bias = torch.where(gain > 1.5, u[:, 2] * (40.0 / 255.0), 0.0)
        spread = (_blur(canvases, 0.4 + 0.8 * u[:, 0]) - bias[:, None, None]) * gain[:, None, None]
        spread = spread.clamp(0.0, 1.0)
        full = _inked_percentile(spread, 20.0 / 255.0).clamp_min(30.0 / 255.0)
        out = some(u[:, 3] < ranges.ink, (spread / full[:, None, None]).clamp(max=1.0), canvases)
        field = 0.55 + 0.45 * draws.uniform(1, 5, 10)
        fade = functional.interpolate(field, size=(height, width), mode="bicubic", align_corners=True)[:, 0]
        out = some(u[:, 4] < ranges.uneven, (out * fade).clamp(0.0, 1.0), out)
        out = out ** torch.exp((2.0 * u[:, 5] - 1.0) * ranges.gamma)[:, None, None]
        out = some(u[:, 6] < ranges.blur, _blur(out, 0.3 + 0.7 * u[:, 7]), out)
        grain = draws.normal(height, width)
        grain = grain * ((6.0 + 24.0 * u[:, 8]) / 255.0)[:, None, None] * (out > 16.0 / 255.0)
        out = some(u[:, 9] < ranges.noise, (out + grain).clamp(0.0, 1.0), out)
        level = (70.0 + 90.0 * u[:, 10]) / 255.0
        half = torch.full((n,), 0.5, device=self._device)
        return some(u[:, 11] < ranges.bitonal, _blur((out > level[:, None, None]).float(), half), out)

    def _canvas_grid(self, rows: int, columns: int) -> torch.Tensor:
        """Positions of the canvas relative to its centre: ``(rows, columns, 2)``, x and y in pixels."""
        return self._grid(rows, columns, 0.5 * (self._canvas.height - 1), 0.5 * (self._canvas.width - 1))

    def _grid(self, rows: int, columns: int, half_height: float, half_width: float) -> torch.Tensor:
        """Positions from ``-half`` to ``half`` in both directions: ``(rows, columns, 2)``, x and y."""
        x = torch.linspace(-half_width, half_width, columns, device=self._device)
        y = torch.linspace(-half_height, half_height, rows, device=self._device)
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
