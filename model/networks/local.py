"""LocalNetwork: descriptors on a fine grid, compared cell by cell with tolerance to small shifts.

Strokes of two genuine signatures of one writer never coincide exactly. Each cell is therefore compared with the
neighbouring cells of the other signature, and the best match counts, plus a learned cost of its shift
(:class:`~model.networks.matching.LocalMatching`). Descriptors combine features at 1/8 and 1/16 of the resolution, as
in Lin et al., "Feature pyramid networks for object detection", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from model.networks.layout import ResidualBlock
from model.networks.matching import LocalMatching

STRIDE = 8
"""Size of a cell in pixels of the canvas, in both directions."""


class LocalNetwork(nn.Module):
    """Network from ``(n, 1, h, w) float32 in [0, 1], ink = 1`` to ``(n, rows * columns * cell + 1) float32``.

    All but the last component are the descriptors of the cells, row by row; together they have unit length. The last
    component is the logarithm of the scale of the signature. Squared distances are multiplied by the scales of both
    signatures, so that variable signatures can be compared with more tolerance than precisely repeated ones, even
    with a single reference.

    Parameters
    ----------
    widths : four ints
        Channels of the two stem convolutions and of the two stages.
    canvas : two ints
        Height and width of the canvas in pixels, multiples of 16.
    cell : int
        Dimension of a cell's descriptor.
    depth : two ints
        Number of residual blocks in the stages at 1/8 and 1/16 of the resolution.
    reach : two ints
        Maximum shift of a match in cells, vertically and horizontally.
    scale : bool
        Whether the scale is learned; otherwise the last component is 0. A scale learned on some data sets increased
        the error rates on others (``benchmarks/README.md``).

    Raises
    ------
    ValueError
        The sides of the canvas are not multiples of 16.
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
                f"the sides of the canvas must be multiples of {2 * STRIDE}, got {height} x {width}"
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
        """Map ``(n, 1, h, w)`` to ``(n, dimension)``."""
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
