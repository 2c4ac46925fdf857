"""Siamese network of the article that this project is based on.

The article states the layers and the sizes 105 x 105 and 30,976 -> 1,024 -> 128 -> 2, but not the paddings. The
paddings below are the ones that yield 30,976 = 256 x 11 x 11; they follow SigNet (Dey et al., arXiv:1707.02131):

====================  ============  =================
layer                 parameters    output shape
====================  ============  =================
input                               1 x 105 x 105
conv 96, 11 x 11      padding 0     96 x 95 x 95
LRN, max pool         3, stride 2   96 x 47 x 47
conv 256, 5 x 5       padding 2     256 x 47 x 47
LRN, max pool, drop   3, stride 2   256 x 23 x 23
conv 384, 3 x 3       padding 1     384 x 23 x 23
conv 256, 3 x 3       padding 1     256 x 23 x 23
max pool, drop        3, stride 2   256 x 11 x 11
flatten                             30,976
linear, ReLU, drop                  1,024
linear, ReLU                        128
linear                              2
====================  ============  =================

Both branches of the Siamese pair share these weights, so a pair is passed as two rows of one batch.
"""

from __future__ import annotations

import torch
from torch import nn

from model.networks.response_norm import LocalResponseNorm


class ArticleNetwork(nn.Module):
    """Network from ``(batch, 1, 105, 105) float32 in [0, 1]`` to ``(batch, 2) float32``, 34.2 million parameters.

    Parameters
    ----------
    dropout : float
        Rate after the convolution blocks. After the first linear layer it is 5/3 of this (0.3 and 0.5 in SigNet).
    """

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 96, 11),
            nn.ReLU(inplace=True),
            LocalResponseNorm(96),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2),
            nn.ReLU(inplace=True),
            LocalResponseNorm(256),
            nn.MaxPool2d(3, 2),
            nn.Dropout(dropout),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Dropout(dropout),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(256 * 11 * 11, 1024),
            nn.ReLU(inplace=True),
            nn.Dropout(min(0.9, dropout * 5 / 3)),
            nn.Linear(1024, 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, 2),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        # The last layer has no ReLU. With the initialisation above, initial distances would be tens of margins.
        last = self.head[-1]
        if isinstance(last, nn.Linear):
            nn.init.xavier_normal_(last.weight)

    def forward(self, ink: torch.Tensor) -> torch.Tensor:
        """Map ``(batch, 1, 105, 105)`` to ``(batch, 2)``."""
        embedding: torch.Tensor = self.head(self.features(ink))
        return embedding
