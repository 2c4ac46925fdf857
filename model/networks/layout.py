"""LayoutNetwork: a small residual network whose embedding preserves the layout of the signature.

For writers outside of the training data, the positions of strokes are more informative than their shapes: an
embedding pooled over the whole canvas generalises worse than HOG features, an embedding of descriptors on a grid
generalises better (results in ``benchmarks/README.md``). The last feature map is therefore projected to a few
channels and averaged over the cells of a grid; the cells are concatenated and normalised to unit length.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """Residual block of two 3 x 3 convolutions (He et al., CVPR 2016), with average pooling in the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride != 1 else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(n, inputs, h, w)`` to ``(n, outputs, h / stride, w / stride)``."""
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


class LayoutNetwork(nn.Module):
    """Network from ``(n, 1, h, w) float32 in [0, 1], ink = 1`` to ``(n, rows * columns * cell) float32``.

    Parameters
    ----------
    widths : four ints
        Channels of the two stem convolutions and of the last two stages.
    grid : two ints
        Rows and columns of the grid.
    cell : int
        Descriptor channels of each grid cell.
    yardstick : bool
        Whether the network predicts the length of each embedding, between 1/2 and 2; otherwise all have unit length.
        Signatures that are repeated precisely should get long embeddings, variable signatures short ones, so that
        one threshold suits both even with a single reference. The loss must depend on the lengths:
        ``reference-set`` does, ``signature-similarity`` does not.
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 40, 80, 128),
        grid: Sequence[int] = (4, 8),
        cell: int = 24,
        *,
        yardstick: bool = False,
    ) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.stem = nn.Sequential(
            nn.Conv2d(1, first, 5, 2, 2, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 3, 2, 1, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.Sequential(
            ResidualBlock(second, second),
            ResidualBlock(second, third, 2),
            ResidualBlock(third, third),
            ResidualBlock(third, fourth, 2),
            ResidualBlock(fourth, fourth),
        )
        self.describe = nn.Conv2d(fourth, cell, 1)
        self.pool = nn.AdaptiveAvgPool2d((grid[0], grid[1]))
        self.norm = nn.BatchNorm1d(cell * grid[0] * grid[1])
        self.length = nn.Linear(fourth, 1) if yardstick else None
        if self.length is not None:
            nn.init.zeros_(self.length.weight)
            nn.init.zeros_(self.length.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(n, 1, h, w)`` to ``(n, dimension)``."""
        features = self.stages(self.stem(x))
        cells = self.pool(self.describe(features))
        unit = functional.normalize(self.norm(cells.flatten(1)), dim=1)
        if self.length is None:
            return unit
        return unit * torch.exp2(torch.tanh(self.length(features.mean(dim=(2, 3)))))
