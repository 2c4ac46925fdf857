"""LocalEnsemble: several local networks side by side, whose descriptors are matched as one.

Networks that were trained on different data make different errors. The descriptors of all members at one cell are
concatenated and projected to the dimension of a single network's, so that templates do not grow and two of them are
compared in the same time; only the forward pass takes longer. A match of cells is chosen once for all members, by
the sum of their squared distances.

The projection is fitted on descriptors (:func:`principal_projection`). Halving their dimension did not increase the
error rates (``benchmarks/README.md``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from model.networks.local import LocalNetwork
from model.networks.matching import LocalMatching


class LocalEnsemble(nn.Module):
    """Network from ``(n, 1, h, w) float32 in [0, 1], ink = 1`` to ``(n, rows * columns * cell + 1) float32``.

    The embedding has the form of that of :class:`~model.networks.local.LocalNetwork`; its last component is 0.

    Parameters
    ----------
    members : sequence of mappings
        Options of the members, each a :class:`~model.networks.local.LocalNetwork` without a scale. Their canvases
        and reaches are equal.
    cell : int
        Dimension of a projected descriptor.

    Raises
    ------
    ValueError
        There is no member, a member has a scale, or the grids or reaches of the members differ.
    """

    projection: torch.Tensor

    def __init__(self, members: Sequence[Mapping[str, Any]], cell: int = 16) -> None:
        super().__init__()
        networks = [LocalNetwork(**options) for options in members]
        if not networks or any(network.scale is not None for network in networks):
            raise ValueError("an ensemble has one member or more, each a local network without a scale")
        if len({(network.matching.grid, network.matching.reach) for network in networks}) > 1:
            raise ValueError("the members of an ensemble have the same canvas and the same reach")
        self.members = nn.ModuleList(networks)
        self.register_buffer("projection", torch.eye(sum(n.matching.cell for n in networks), cell))
        self.matching = LocalMatching(networks[0].matching.grid, cell, networks[0].matching.reach)

    def descriptors(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(n, 1, h, w)`` to the concatenated descriptors of the members ``(n, rows * columns, sum of cells)``.

        Each member has the same part of the squared length, which is 1 for the whole signature.
        """
        rows, columns = self.matching.grid
        parts: list[torch.Tensor] = [
            member(x)[:, :-1].reshape(len(x), rows * columns, -1) for member in self.members
        ]
        return torch.cat(parts, dim=2) / math.sqrt(len(parts))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(n, 1, h, w)`` to ``(n, dimension)``."""
        cells = (self.descriptors(x) @ self.projection).flatten(1)
        return torch.cat([cells, cells.new_zeros(len(cells), 1)], dim=1)

    @torch.no_grad()
    def join(self, members: Iterable[LocalNetwork]) -> None:
        """Copy the weights of trained members; the prices of shifts are the means of theirs."""
        prices = []
        for own, trained in zip(self.members, members, strict=True):
            own.load_state_dict(trained.state_dict())
            prices.append(trained.matching.log_price.exp())
        self.matching.log_price.copy_(torch.stack(prices).mean(dim=0).log())


def principal_projection(batches: Iterable[torch.Tensor], cell: int) -> torch.Tensor:
    """Return the projection to the principal components of descriptors: ``(inputs, cell)``, orthonormal columns.

    The components are those of the second moments around zero, because cells without ink are zero and empty cells
    must stay so.

    Parameters
    ----------
    batches : iterable of tensors (n, places, inputs)
    """
    moments: torch.Tensor | None = None
    for batch in batches:
        flat = batch.flatten(0, 1).double()
        moments = flat.T @ flat if moments is None else moments + flat.T @ flat
    if moments is None:
        raise ValueError("there are no descriptors")
    vectors: torch.Tensor = torch.linalg.eigh(moments).eigenvectors
    return vectors.flip(1)[:, :cell].float()
