"""SigNet: Hafemann, Sabourin and Oliveira, "Learning features for offline handwritten signature verification
using deep convolutional neural networks", Pattern Recognition 70 (2017).

Architecture of table 3: input 150 x 220, five convolutions and two linear layers of 2,048, all with batch
normalisation.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


class SigNet(nn.Module):
    """Network from ``(batch, 1, 150, 220) float32 in [0, 1]`` to ``(batch, 2048) float32``, 15.8 million parameters.

    Parameters
    ----------
    dimension : int
        Width of the two linear layers, 2,048 in the paper.
    """

    def __init__(self, dimension: int = 2048) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _convolution(1, 96, 11, stride=4),
            nn.MaxPool2d(3, 2),
            _convolution(96, 256, 5, padding=2),
            nn.MaxPool2d(3, 2),
            _convolution(256, 384, 3, padding=1),
            _convolution(384, 384, 3, padding=1),
            _convolution(384, 256, 3, padding=1),
            nn.MaxPool2d(3, 2),
        )
        self.head = nn.Sequential(
            nn.Flatten(), _linear(256 * 3 * 5, dimension), _linear(dimension, dimension)
        )

    def forward(self, ink: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, 1, 150, 220)`` to ``(batch, dimension)``."""
        embedding: torch.Tensor = self.head(self.features(ink))
        return embedding


def _convolution(inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, size, stride, padding, bias=False),
            norm=nn.BatchNorm2d(outputs),
            relu=nn.ReLU(inplace=True),
        )
    )


def _linear(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            linear=nn.Linear(inputs, outputs, bias=False),
            norm=nn.BatchNorm1d(outputs),
            relu=nn.ReLU(inplace=True),
        )
    )
