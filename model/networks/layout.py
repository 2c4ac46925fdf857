"""Our network: a small residual network whose embedding keeps the layout of the writing.

Between people never seen before, where a stroke lies says more than which strokes there are: an embedding pooled over
the whole canvas generalises worse than HOG, one that keeps a grid of local descriptors better
(``benchmarks/README.md`` has the figures). So the last feature map is projected to a few channels, averaged over a
grid, and the cells stand side by side in one vector of unit length.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a short cut; He et al., CVPR 2016, with an average pool in the short cut."""

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
        """``(n, inputs, h, w)`` to ``(n, outputs, h / stride, w / stride)``."""
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


class LayoutNetwork(nn.Module):
    """``(n, 1, h, w)`` float32 in [0, 1], ink = 1, to ``(n, grid rows * grid columns * cell)``.

    Parameters
    ----------
    widths : four ints
        Channels of the two stem convolutions and of the last two stages.
    grid : two ints
        Rows and columns of the layout that is kept.
    cell : int
        Descriptor channels of each grid cell.
    yardstick : bool
        Whether the length of an embedding varies, between 1/2 and 2: the network then says what a distance is worth.
        Writing that its writer repeats exactly gets a long embedding, writing that varies by nature a short one, so
        that one threshold fits both from the first reference on. Needs an objective that minds lengths
        (``reference-set`` does, ``signature-similarity`` does not). Without, all are of unit length.
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
        """``(n, 1, h, w)`` to ``(n, dimension)``."""
        features = self.stages(self.stem(x))
        cells = self.pool(self.describe(features))
        unit = functional.normalize(self.norm(cells.flatten(1)), dim=1)
        if self.length is None:
            return unit
        return unit * torch.exp2(torch.tanh(self.length(features.mean(dim=(2, 3)))))
