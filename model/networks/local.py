"""Our network: descriptors on a fine grid, compared cell by cell with a tolerance to small shifts.

Two genuine signatures of one person never lie exactly on top of each other, so a cell is compared with the nearest
cells of the other signature and the best match counts, at a learned price for the shift
(:class:`~model.networks.matching.LocalMatching`). Descriptors join features at an eighth and at a sixteenth of the
resolution, as in Lin et al., "Feature pyramid networks for object detection", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from model.networks.layout import ResidualBlock
from model.networks.matching import LocalMatching

STRIDE = 8
"""Pixels of the canvas to a cell, in both directions."""


class LocalNetwork(nn.Module):
    """``(n, 1, h, w)`` float32 in [0, 1], ink = 1, to ``(n, rows * columns * cell + 1)``.

    The first numbers are the cells' descriptors, row by row, each cell's side by side; together they are of unit
    length. The last is the logarithm of the signature's scale: squared distances are multiplied by the scales of both
    signatures, so that writing that varies by nature is judged with more tolerance than writing that its author
    repeats exactly, already with one reference.

    Parameters
    ----------
    widths : four ints
        Channels of the two stem convolutions and of the two stages.
    canvas : two ints
        Height and width of the canvas in pixels, multiples of 16.
    cell : int
        Numbers of a cell's descriptor.
    depth : two ints
        Residual blocks of the stages at an eighth and at a sixteenth of the resolution.
    reach : two ints
        How many cells a match may lie off, vertically and horizontally.
    scale : bool
        Whether a scale is learned; without it, the last number is 0. A scale that was learned on some data sets made
        more errors on the others (``benchmarks/README.md``).
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 48, 96, 160),
        canvas: Sequence[int] = (112, 224),
        cell: int = 16,
        depth: Sequence[int] = (2, 2),
        reach: Sequence[int] = (1, 1),
        *,
        scale: bool = True,
    ) -> None:
        super().__init__()
        height, width = canvas
        if height % (2 * STRIDE) or width % (2 * STRIDE):
            raise ValueError(
                f"the sides of the canvas have to be multiples of {2 * STRIDE}, not {height} x {width}"
            )
        first, second, third, fourth = widths
        self.stem = nn.Sequential(
            nn.Conv2d(1, first, 5, 2, 2, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 3, 2, 1, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(inplace=True),
            ResidualBlock(second, second),
        )
        self.fine = _stage(second, third, depth[0])
        self.coarse = _stage(third, fourth, depth[1])
        self.describe_fine = _descriptor(third, cell)
        self.describe_coarse = _descriptor(fourth, cell)
        self.scale = nn.Linear(third + fourth, 1) if scale else None
        if self.scale is not None:
            nn.init.zeros_(self.scale.weight)
            nn.init.zeros_(self.scale.bias)
        self.matching = LocalMatching((height // STRIDE, width // STRIDE), cell, reach)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, 1, h, w)`` to ``(n, dimension)``."""
        fine = self.fine(self.stem(x))
        coarse = self.coarse(fine)
        cells = self.describe_fine(fine) + functional.interpolate(
            self.describe_coarse(coarse), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        rows = cells.permute(0, 2, 3, 1).flatten(1)
        if self.scale is None:
            scale = rows.new_zeros(len(rows), 1)
        else:
            pooled = torch.cat([fine.mean(dim=(2, 3)), coarse.mean(dim=(2, 3))], dim=1)
            scale = torch.tanh(self.scale(pooled))
        return torch.cat([functional.normalize(rows.float(), dim=1), scale.float()], dim=1)


def _descriptor(inputs: int, cell: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, cell, 1, bias=False), nn.BatchNorm2d(cell))


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(inputs, outputs, 2), *(ResidualBlock(outputs, outputs) for _ in range(blocks - 1))
    )
