"""Local response normalisation that is fast on a CPU.

Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks" (2012), 3.3:
``y = x / (k + alpha / size * sum of x**2 over the ``size`` neighbouring channels) ** beta``. The same numbers as
``torch.nn.LocalResponseNorm``, whose 3-D pooling takes 40 % of the article's training step: here the sum over
neighbours is a 1 x 1 convolution with a band matrix, and the gradient is written out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class LocalResponseNorm(nn.Module):
    """``(batch, channels, height, width)`` to the same; beta is 0.75 and no parameter, as everywhere in use."""

    band: torch.Tensor

    def __init__(self, channels: int, size: int = 5, alpha: float = 1e-4, k: float = 2.0) -> None:
        super().__init__()
        index = torch.arange(channels)
        near = (index[:, None] - index[None, :]).abs() <= size // 2
        band = (near.float() * (alpha / size)).reshape(channels, channels, 1, 1)
        self.register_buffer("band", band, persistent=False)
        self.k = k

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x / (k + band * x**2) ** 0.75``."""
        y: torch.Tensor = _Normalise.apply(x, self.band.to(x.dtype), self.k)  # type: ignore[no-untyped-call]
        return y


class _Normalise(torch.autograd.Function):
    """d/dx of ``x s**-b`` with ``s = k + B x**2`` (B symmetric): ``g s**-b - 2 b x B(g x s**(-b-1))``."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, band: torch.Tensor, k: float) -> torch.Tensor:
        s = functional.conv2d(x.square(), band).add_(k)
        factor = s.sqrt().mul_(s).rsqrt_()  # s ** -0.75
        ctx.save_for_backward(x, s, factor, band)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        x, s, factor, band = ctx.saved_tensors
        through = grads[0] * factor
        return through - functional.conv2d((through * x).div_(s), band).mul_(x).mul_(1.5), None, None
