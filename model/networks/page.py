"""The segmentation network: which pixels of a page belong to a handwritten signature.

A small U-Net (Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015)
whose skip connections are added rather than concatenated, as in Chaurasia and Culurciello, "LinkNet", VCIP 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

STRIDE = 16
"""The sides of the input are multiples of this."""


class PageNetwork(nn.Module):
    """``(n, 1, h, w)`` float32 darkness in [0, 1], ink = 1, to ``(n, 1, h, w)`` logits of *signature*.

    Parameters
    ----------
    widths : four ints
        Channels at a half, a quarter, an eighth and a sixteenth of the resolution.
    """

    def __init__(self, widths: Sequence[int] = (16, 24, 48, 96)) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = widths
        self.stem = conv(1, half, kernel=5, stride=2)
        self.quarter = nn.Sequential(conv(half, quarter, stride=2), conv(quarter, quarter))
        self.eighth = nn.Sequential(conv(quarter, eighth, stride=2), conv(eighth, eighth))
        self.sixteenth = nn.Sequential(
            conv(eighth, sixteenth, stride=2),
            conv(sixteenth, sixteenth, dilation=2),
            conv(sixteenth, sixteenth, dilation=4),
        )
        self.to_eighth, self.at_eighth = nn.Conv2d(sixteenth, eighth, 1), conv(eighth, eighth)
        self.to_quarter, self.at_quarter = nn.Conv2d(eighth, quarter, 1), conv(quarter, quarter)
        self.to_half, self.at_half = nn.Conv2d(quarter, half, 1), conv(half, half)
        self.to_full = nn.Conv2d(half, 8, 1)
        self.fine = nn.Conv2d(1, 8, 3, padding=1)
        self.full = nn.Sequential(nn.ReLU(), conv(8, 8))
        self.logit = nn.Conv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, 1, h, w)`` to ``(n, 1, h, w)``; h and w are multiples of :data:`STRIDE`."""
        half = self.stem(x)
        quarter = self.quarter(half)
        eighth = self.eighth(quarter)
        up = self.at_eighth(functional.relu(eighth + _twice(self.to_eighth(self.sixteenth(eighth)))))
        up = self.at_quarter(functional.relu(quarter + _twice(self.to_quarter(up))))
        up = self.at_half(functional.relu(half + _twice(self.to_half(up))))
        joined = _twice(self.to_full(up)) + self.fine(x)
        # The linear path lets the logit grow where all rectified features are zero.
        logits: torch.Tensor = self.logit(torch.cat([self.full(joined), joined], dim=1))
        return logits


def _twice(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Build a convolution that keeps the size but for its stride, with batch normalisation and ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
