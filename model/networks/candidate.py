"""The candidate network: whether a part of a page is a signature, or a date, an amount, a name, a stamp.

Two small convolutional networks see the part and its surroundings (:mod:`model.preprocessing.recognition`).
"""

from __future__ import annotations

import torch
from torch import nn

from model.networks.page import conv

NEAR, FAR = (16, 32, 64, 96), (16, 24, 48, 64)
"""Channels of the two networks at a half, a quarter, an eighth and a sixteenth of the resolution."""

HIDDEN, DROPOUT = 64, 0.2


class CandidateNetwork(nn.Module):
    """``(n, 4, h, w)`` float32 in [0, 1] to ``(n, 1)`` logits of *signature*.

    The channels are darkness and probability of a signature of the part, then those of its surroundings.
    """

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = _trunk(NEAR), _trunk(FAR)
        self.answer = nn.Sequential(
            nn.Dropout(DROPOUT),
            nn.Linear(2 * (NEAR[-1] + FAR[-1]), HIDDEN),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute logits."""
        seen = (self.near(x[:, :2]), self.far(x[:, 2:]))
        pooled = [pool for maps in seen for pool in (maps.mean((2, 3)), maps.amax((2, 3)))]
        logits: torch.Tensor = self.answer(torch.cat(pooled, dim=1))
        return logits


def _trunk(widths: tuple[int, int, int, int]) -> nn.Sequential:
    half, quarter, eighth, sixteenth = widths
    return nn.Sequential(
        conv(2, half, kernel=5, stride=2),
        conv(half, quarter, stride=2),
        conv(quarter, quarter),
        conv(quarter, eighth, stride=2),
        conv(eighth, eighth),
        conv(eighth, sixteenth, stride=2),
        conv(sixteenth, sixteenth),
    )
