"""Local matching: the distance between two grids of descriptors, with tolerance to small shifts of the cells.

For cells ``a[c]`` and ``b[c]`` (unit length over the whole grid) and shifts ``s`` of at most ``reach`` cells

    D(a to b) = sum over c of min over s of (|a[c] - b[c + s]|**2 + price[s]),

where cells outside of the grid are zero, and ``D = (D(a to b) + D(b to a)) / 2 * exp(scale_a + scale_b)``. The
distance is the square root of ``D``. This is elastic matching (Uchida and Sakoe, "A survey of elastic matching
techniques for handwritten character recognition", IEICE Transactions E88-D, 2005) without its ordering constraints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class LocalMatching(nn.Module):
    """Distances between embeddings of :class:`~model.networks.local.LocalNetwork`.

    Parameters
    ----------
    grid : two ints
        Rows and columns of cells.
    cell : int
        Dimension of a descriptor.
    reach : two ints
        Maximum shift in rows and in columns.
    """

    def __init__(self, grid: Sequence[int], cell: int, reach: Sequence[int] = (1, 1)) -> None:
        super().__init__()
        self.grid, self.cell, self.reach = (grid[0], grid[1]), cell, (reach[0], reach[1])
        rows = torch.arange(-self.reach[0], self.reach[0] + 1)
        columns = torch.arange(-self.reach[1], self.reach[1] + 1)
        self.shifts = [(int(y), int(x)) for y in rows for x in columns]
        # One price per absolute shift in rows and columns. A match without shift costs nothing.
        self.log_price = nn.Parameter(torch.full(((self.reach[0] + 1) * (self.reach[1] + 1),), -8.0))

    def prices(self) -> torch.Tensor:
        """Return the price of each of :attr:`shifts`: (shifts,) float32."""
        table = self.log_price.exp().reshape(self.reach[0] + 1, self.reach[1] + 1)
        free = torch.zeros((), dtype=table.dtype, device=table.device)
        return torch.stack([table[abs(y), abs(x)] if (y or x) else free for y, x in self.shifts])

    def squared(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Compute the squared distance between each row of ``a`` and the same row of ``b``.

        The best shifts are determined without gradients (in bfloat16 in training mode); gradients are computed for
        the selected matches only.

        Parameters
        ----------
        a, b : (p, dimension)

        Returns
        -------
        (p,)
        """
        scale = torch.exp(a[:, -1] + b[:, -1])
        prices = self.prices()
        cells_a, cells_b = self._cells(a), self._cells(b)
        a_to_b = self._directed(cells_a, cells_b, prices)
        b_to_a = self._directed(cells_b, cells_a, prices)
        return 0.5 * (a_to_b + b_to_a) * scale

    def contributions(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Compute what each cell contributes to the squared distance between each row of ``a`` and that of ``b``.

        Parameters
        ----------
        a, b : (p, dimension)

        Returns
        -------
        (p, 2, rows, columns)
            At 0, the cells of ``a``, each with its best match in ``b``; at 1, the cells of ``b``. The sum over all
            but the first axis is the squared distance.
        """
        scale = torch.exp(a[:, -1] + b[:, -1])
        cells_a, cells_b = self._cells(a), self._cells(b)
        both = torch.stack([self._cell_costs(cells_a, cells_b), self._cell_costs(cells_b, cells_a)], dim=1)
        return 0.5 * both * scale[:, None, None, None]

    def _cell_costs(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Compute the cost of the best match of each cell: (p, rows, columns), exactly 0 for equal cells."""
        height, width = self.grid
        down, right = self.reach
        padded = functional.pad(b, (0, 0, right, right, down, down))
        costs = [
            (a - padded[:, down + y : down + y + height, right + x : right + x + width]).square().sum(dim=-1)
            + price
            for (y, x), price in zip(self.shifts, self.prices(), strict=True)
        ]
        return torch.stack(costs).amin(dim=0)

    def table(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Compute the squared distances between all rows of ``a`` and all rows of ``b``, for evaluation.

        About fifteen times as fast as :meth:`squared` for many pairs, because inner products are computed as matrix
        products.

        Parameters
        ----------
        a : (n, dimension)
        b : (k, dimension)

        Returns
        -------
        (n, k)
        """
        cells_a, cells_b = self._cells(a), self._cells(b)
        both = self._directed_table(cells_a, cells_b) + self._directed_table(cells_b, cells_a).T
        return 0.5 * both * torch.exp(a[:, None, -1] + b[None, :, -1])

    def one_to_many(self, one: torch.Tensor, many: torch.Tensor) -> torch.Tensor:
        """Compute the squared distances between one embedding and many.

        One matrix product for each place gives the costs of all its matches with all embeddings, which serve both
        directions, so this takes half the operations of :meth:`table`.

        Parameters
        ----------
        one : (dimension,) float32
        many : (k, dimension) float16 or float32

        Returns
        -------
        (k,) float32
        """
        height, width = self.grid
        down, right = self.reach
        prices = self.prices()
        a = self._cells(one[None])[0]
        padded = functional.pad(a, (0, 0, right, right, down, down))
        windows = torch.stack(
            [padded[down + y : down + y + height, right + x : right + x + width] for y, x in self.shifts],
            dim=2,
        )  # (h, w, shifts, cell): the cells of `one` around each place
        # |b - a|**2 + price is the product of (b, 1, |b|**2) and (-2 a, |a|**2 + price, 1).
        lengths = (windows.square().sum(dim=3) + prices)[..., None]
        left = torch.cat([-2.0 * windows, lengths, torch.ones_like(lengths)], dim=3)
        # The last axis is that of the embeddings, so that the minima below are taken of whole vectors.
        right_side = left.new_ones(height, width, self.cell + 2, len(many))
        cells = right_side[:, :, : self.cell]
        cells.copy_(many.T.contiguous()[:-1].reshape(cells.shape))
        right_side[:, :, self.cell + 1] = cells.square().sum(dim=2)
        costs = torch.matmul(left, right_side)  # (h, w, shifts, k)
        many_to_one = costs.amin(dim=2)
        one_to_many = self._costs_beyond(a, prices)[:, :, None].repeat(1, 1, len(many))
        for index, (y, x) in enumerate(self.shifts):
            # The cell of `one` at c + (y, x) is matched with the cell of `many` at c.
            of_one = one_to_many[_within(height, y), _within(width, x)]
            torch.minimum(of_one, costs[_within(height, -y), _within(width, -x), index], out=of_one)
        both = (many_to_one + one_to_many).sum(dim=(0, 1))
        return 0.5 * both * torch.exp(one[-1] + many[:, -1].float())

    def _costs_beyond(self, a: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
        """Compute the lowest cost of a match of each cell with zeros beyond the grid: (rows, columns).

        It is infinite for cells that are not near the edge.
        """
        height, width = self.grid
        lengths = a.square().sum(dim=2)
        lowest = torch.full_like(lengths, torch.inf)
        for (y, x), price in zip(self.shifts, prices, strict=True):
            is_inside = torch.zeros_like(lengths, dtype=torch.bool)
            is_inside[_within(height, y), _within(width, x)] = True
            lowest = torch.where(is_inside, lowest, torch.minimum(lowest, lengths + price))
        return lowest

    def _directed_table(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        height, width = self.grid
        down, right = self.reach
        padded = functional.pad(b, (0, 0, right, right, down, down))
        squares = padded.square().sum(dim=-1)
        left = a.permute(1, 2, 0, 3).flatten(0, 1)  # (cells, n, cell)
        best: torch.Tensor | None = None
        for (dy, dx), price in zip(self.shifts, self.prices(), strict=True):
            rows, columns = slice(down + dy, down + dy + height), slice(right + dx, right + dx + width)
            shifted = padded[:, rows, columns].permute(1, 2, 3, 0).flatten(0, 1)  # (cells, cell, k)
            length = squares[:, rows, columns].permute(1, 2, 0).flatten(0, 1)[:, None] + price
            cost = torch.baddbmm(length, left, shifted, alpha=-2.0)
            best = cost if best is None else torch.minimum(best, cost)
        assert best is not None  # noqa: S101 - there is at least one shift  # nosec B101
        return best.sum(dim=0) + a.square().sum(dim=(1, 2, 3))[:, None]

    def _cells(self, embeddings: torch.Tensor) -> torch.Tensor:
        return embeddings[:, :-1].reshape(-1, *self.grid, self.cell)

    def _directed(self, a: torch.Tensor, b: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
        height, width = self.grid
        down, right = self.reach
        padded = functional.pad(b, (0, 0, right, right, down, down))
        with torch.no_grad():
            # Half precision halves the time of a training step. Only choices between nearly equal costs change.
            x, y = a.detach(), padded.detach()
            if self.training:
                x, y = x.bfloat16(), y.bfloat16()
            squares = y.square().sum(dim=-1)
            best = torch.full((len(a), height, width), torch.inf, device=a.device)
            choice = torch.zeros_like(best, dtype=torch.long)
            for index, (dy, dx) in enumerate(self.shifts):
                rows, columns = slice(down + dy, down + dy + height), slice(right + dx, right + dx + width)
                cost = squares[:, rows, columns] - 2.0 * (x * y[:, rows, columns]).sum(dim=-1)
                cost = cost.float() + prices[index]
                choice = torch.where(cost < best, index, choice)
                best = torch.minimum(cost, best)
        table = torch.tensor(self.shifts, device=a.device)
        at_y = torch.arange(height, device=a.device)[None, :, None] + down + table[choice, 0]
        at_x = torch.arange(width, device=a.device)[None, None, :] + right + table[choice, 1]
        flat = (at_y * (width + 2 * right) + at_x).flatten(1)
        matched = padded.flatten(1, 2).gather(1, flat[:, :, None].expand(-1, -1, self.cell))
        difference = a.flatten(1, 2) - matched
        # Counted, because the gradient of prices[choice] would add millions of numbers to few addresses.
        counts = torch.stack([(choice == index).sum(dim=(1, 2)) for index in range(len(self.shifts))], dim=1)
        return difference.square().sum(dim=(1, 2)) + counts.to(prices.dtype) @ prices


def _within(size: int, shift: int) -> slice:
    """Return the places of a side of `size` cells that are inside again after moving them by `-shift` cells."""
    return slice(max(0, shift), size + min(0, shift))
