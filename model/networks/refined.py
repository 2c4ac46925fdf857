"""A trained network made a little better where it is used: several sizes of the ink averaged, nuisances pressed down.

1. The signature is embedded at several sizes, and the embeddings are averaged: what hangs on the size at which a
   stroke falls onto the pixel grid averages out.
2. The embedding is centred and whitened by the covariance *within* writers: directions in which one hand varies from
   day to day count less. After Hatch, Kajarekar and Stolcke, "Within-class covariance normalization for SVM-based
   speaker recognition", Interspeech 2006.

Nothing here is trained by gradients: :func:`whitening` is fitted on embeddings when training has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Refined(nn.Module):
    """``(n, 1, h, w)`` float32 in [0, 1] to ``(n, dimension)`` of unit length.

    Parameters
    ----------
    base : str
        Name of a network of :mod:`model.networks`.
    options : mapping
        Its options.
    dimension : int
        Of its embedding.
    sizes : sequence of float
        Factors on the size of the ink, 1 being as it comes.
    """

    centre: torch.Tensor
    whitening: torch.Tensor

    def __init__(
        self, base: str, options: Mapping[str, Any], dimension: int, sizes: Sequence[float] = (1.0,)
    ) -> None:
        super().__init__()
        from model.networks import build  # noqa: PLC0415  that module names this one

        self.base = build(base, **options)
        self.sizes = tuple(sizes)
        self.register_buffer("centre", torch.zeros(dimension))
        self.register_buffer("whitening", torch.eye(dimension))

    def averaged(self, x: torch.Tensor) -> torch.Tensor:
        """The mean over all sizes, before whitening: ``(n, dimension)`` of unit length."""
        all_sizes = torch.cat([_zoomed(x, size) for size in self.sizes])
        embeddings: torch.Tensor = self.base(all_sizes).float()
        return functional.normalize(embeddings.reshape(len(self.sizes), len(x), -1).sum(dim=0), dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Averaged, centred, whitened, of unit length."""
        return functional.normalize((self.averaged(x) - self.centre) @ self.whitening, dim=1)


def whitening(
    embeddings: torch.Tensor, identities: torch.Tensor, shrinkage: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit centre and whitening on genuine signatures.

    Parameters
    ----------
    embeddings : (n, d) float32
    identities : (n,) int64
        Whose they are; identities with a single row tell nothing.
    shrinkage : float
        How much of the mean variance is added to every direction, > 0: with few rows the small variances are
        underestimated.

    Returns
    -------
    centre (d,), whitening (d, d) : float32
        Such that ``(e - centre) @ whitening`` has the same variance within writers in every direction, up to the
        shrinkage.
    """
    e = embeddings.double()
    _, index = torch.unique(identities, return_inverse=True)
    counts = torch.bincount(index).double()
    means = torch.zeros(len(counts), e.shape[1], dtype=e.dtype).index_add_(0, index, e) / counts[:, None]
    rows = e - means[index]
    within = rows.T @ rows / max(1.0, float((counts - 1).sum()))
    mean_variance = within.diagonal().mean()
    shrunk = within + shrinkage * mean_variance * torch.eye(e.shape[1], dtype=e.dtype)
    factor = torch.linalg.cholesky(torch.linalg.inv(shrunk))
    # Of the size that keeps a mean variance of one part in d: the numbers stay in float32's comfortable range.
    return e.mean(dim=0).float(), (factor * mean_variance.sqrt()).float()


def _zoomed(x: torch.Tensor, size: float) -> torch.Tensor:
    """The ink ``size`` times as large, round the middle of the canvas."""
    if size == 1.0:
        return x
    theta = torch.tensor([[1.0 / size, 0.0, 0.0], [0.0, 1.0 / size, 0.0]], device=x.device, dtype=x.dtype)
    grid = functional.affine_grid(theta[None], [1, *x.shape[1:]], align_corners=False)
    grid = grid.expand(len(x), -1, -1, -1)  # the same for all: computed once
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
