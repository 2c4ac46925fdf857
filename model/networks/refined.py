"""Refinement of a trained network: test-time augmentation by size, and within-class covariance normalization.

1. The signature is embedded at several sizes and the embeddings are averaged, which reduces the effect of how
   strokes are aligned with the pixel grid.
2. The embedding is centred and whitened by the covariance *within* writers, so that directions in which genuine
   signatures of one writer vary have less weight. A. Hatch, S. Kajarekar and A. Stolcke, "Within-class covariance
   normalization for SVM-based speaker recognition", Interspeech 2006.

No parameters are trained by gradient descent: :func:`whitening` is fitted on embeddings after the training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Refined(nn.Module):
    """Network from ``(n, 1, h, w) float32 in [0, 1]`` to ``(n, dimension) float32`` of unit length.

    Parameters
    ----------
    base : str
        Name of a network of :mod:`model.networks`.
    options : mapping
        Options of that network.
    dimension : int
        Dimension of its embedding.
    sizes : sequence of float
        Factors by which the ink is scaled; 1 is its original size.
    """

    centre: torch.Tensor
    whitening: torch.Tensor

    def __init__(
        self, base: str, options: Mapping[str, Any], dimension: int, sizes: Sequence[float] = (1.0,)
    ) -> None:
        super().__init__()
        from model.networks import build  # noqa: PLC0415  circular import

        self.base = build(base, **options)
        self.sizes = tuple(sizes)
        self.register_buffer("centre", torch.zeros(dimension))
        self.register_buffer("whitening", torch.eye(dimension))

    def averaged(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the mean embedding over all sizes, before whitening: ``(n, dimension)`` of unit length."""
        all_sizes = torch.cat([_zoomed(x, size) for size in self.sizes])
        embeddings: torch.Tensor = self.base(all_sizes).float()
        return functional.normalize(embeddings.reshape(len(self.sizes), len(x), -1).sum(dim=0), dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(n, 1, h, w)`` to ``(n, dimension)``."""
        return functional.normalize((self.averaged(x) - self.centre) @ self.whitening, dim=1)


def whitening(
    embeddings: torch.Tensor, identities: torch.Tensor, shrinkage: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit the centre and the whitening matrix on embeddings of genuine signatures.

    Parameters
    ----------
    embeddings : (n, d) float32
    identities : (n,) int64
        Identity of each row; identities with a single row do not contribute to the covariance.
    shrinkage : float
        Share of the mean variance that is added in every direction, > 0, because small variances are underestimated
        from few rows.

    Returns
    -------
    centre (d,), whitening (d, d) : float32
        ``(e - centre) @ whitening`` has the same variance within writers in every direction, except for the effect of
        the shrinkage.
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
    # Scaled so that the mean variance within writers is preserved and values do not leave the usual float32 range.
    return e.mean(dim=0).float(), (factor * mean_variance.sqrt()).float()


def _zoomed(x: torch.Tensor, size: float) -> torch.Tensor:
    """Scale the ink by ``size`` about the centre of the canvas."""
    if size == 1.0:
        return x
    theta = torch.tensor([[1.0 / size, 0.0, 0.0], [0.0, 1.0 / size, 0.0]], device=x.device, dtype=x.dtype)
    grid = functional.affine_grid(theta[None], [1, *x.shape[1:]], align_corners=False)
    grid = grid.expand(len(x), -1, -1, -1)  # one grid for all images
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
