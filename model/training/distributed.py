"""Training in several processes that torchrun starts, one for each device, with the result of one process.

Every process embeds its share of the rows of each batch. The embeddings are gathered, and every process computes the
objectives on the whole batch, because they compare all of its rows. ``DistributedDataParallel`` averages the
gradients.

Three things depend on rows that another process has, and would make the result depend on the number of processes:

- *batch normalisation* uses the statistics of the whole batch: torch's ``SyncBatchNorm`` on GPUs, and
  :class:`SynchronisedBatchNorm` on the CPU, which ``SyncBatchNorm`` does not support and for which torch's own kernel
  is not precise enough;
- *dropout* on the CPU draws the mask of the whole batch in every process (:class:`SynchronisedDropout`);
- *the random numbers of objectives* are therefore the same in all processes, which start with the same seed.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn
from torch.autograd import Function
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from model.errors import DataError
from model.networks.embedder import choose_device
from model.training.recipes import Recipe

T = TypeVar("T")
PADDED_TO = 32
"""On a GPU, batches are padded to a multiple of this number of rows by repeating the first ones."""

TIMEOUT = timedelta(hours=1)
"""How long a process waits for the others; the first one measures the validation writers meanwhile."""


@dataclass(frozen=True)
class Share:
    """The rows of each batch that one process embeds.

    Attributes
    ----------
    rank : int
        Number of the process, from 0.
    count : int
        Number of processes.
    multiple : int
        Batches are padded to a multiple of this number of rows.
    """

    rank: int = 0
    count: int = 1
    multiple: int = 1

    def rows(self, total: int) -> NDArray[np.int64]:
        """Return the indices of the rows of this process in a batch of ``total`` rows.

        Raises
        ------
        DataError
            There are fewer rows than processes.
        """
        if total < self.count:
            raise DataError(f"{self.count} processes cannot share a batch of {total} rows: start fewer.")
        return np.array_split(self._padded(total), self.count)[self.rank]

    def sizes(self, total: int) -> list[int]:
        """Return the number of rows of each process in a batch of ``total`` rows."""
        return [len(part) for part in np.array_split(self._padded(total), self.count)]

    def _padded(self, total: int) -> NDArray[np.int64]:
        return np.arange(total + -total % self.multiple) % total


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    count : int
        Number of processes.
    synchronised : bool
        Whether torchrun has started them. Layers are then replaced (:func:`synchronise`) even if there is only one,
        so that its result can be compared with that of several.
    """

    rank: int = 0
    count: int = 1
    synchronised: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the process that validates and writes the files of the run."""
        return self.rank == 0

    def share(self, device: str) -> Share:
        """Return the share of this process in each batch."""
        # cuDNN plans its kernels anew for every batch size, and signers have different numbers of specimens.
        return Share(self.rank, self.count, PADDED_TO if device == "cuda" else 1)

    @contextmanager
    def one_before_the_others(self) -> Iterator[None]:
        """Enter the body in the first process of each machine, and in the others when it has left it."""
        if not self.synchronised:
            yield
            return
        leads = os.environ["LOCAL_RANK"] == "0"
        if not leads:
            distributed.barrier()
        yield
        if leads:
            distributed.barrier()

    def agreed(self, value: T) -> T:
        """Return the value that the first process has."""
        if not self.synchronised:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]


@contextmanager
def open_processes(recipe: Recipe) -> Iterator[Processes]:
    """Join the other processes when torchrun has started this one: with Gloo on the CPU, with NCCL on GPUs.

    Raises
    ------
    DataError
        There are fewer GPUs than processes on this machine.
    """
    if not distributed.is_torchelastic_launched():
        yield Processes()
        return
    device = choose_device(recipe.training.device)
    local_rank, local_count = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if device == "cuda":
        if torch.cuda.device_count() < local_count:
            raise DataError(
                f"{local_count} processes need a GPU each, and this machine has {torch.cuda.device_count()}: "
                'set --nproc-per-node to that number, or device = "cpu" in the recipe.'
            )
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), synchronised=True)
    finally:
        # DistributedDataParallel refers to the process group and is part of reference cycles. The threads of the
        # group must end before the interpreter does: one that still waits for its lock would abort the process.
        gc.collect()
        distributed.destroy_process_group()


class Gather(Function):
    """Embeddings of all processes, ``(n, d)``, from those of each, with gradients."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
        """Return the embeddings of the processes one after the other; they have ``sizes`` rows."""
        rank, largest = distributed.get_rank(), max(sizes)
        ctx.rank, ctx.sizes = rank, sizes
        # Gloo and NCCL gather tensors of equal shapes only.
        padded = functional.pad(own, (0, 0, 0, largest - len(own))).contiguous()
        parts = [torch.empty_like(padded) for _ in sizes]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient of the sum of the losses of all processes."""
        # They are the same loss, so no communication is needed. DistributedDataParallel takes the mean later.
        own: torch.Tensor = torch.split(gradient, list(ctx.sizes))[ctx.rank]
        return own * len(ctx.sizes), None


class SumOfAll(Function):
    """The sum of a tensor over all processes, with gradients."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor) -> torch.Tensor:
        """Add up the tensors of all processes."""
        del ctx
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Every process has used the sum, so the gradients of all are added up."""
        del ctx
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


class SynchronisedBatchNorm(_BatchNorm):
    """Batch normalisation with the statistics of the rows of all processes, on any device.

    It computes in float64. Torch's kernel for the channels-last format on the CPU sums in float32, and its rounding
    errors would depend on how rows are shared. Processes may have different numbers of rows.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``(n, channels, ...)``."""
        if not self.training:
            return super().forward(x)
        axes = [0, *range(2, x.ndim)]
        wide = x.double()
        own = torch.cat([wide.sum(axes), wide.square().sum(axes), wide.new_tensor([x.numel() / x.shape[1]])])
        summed: torch.Tensor = SumOfAll.apply(own)  # type: ignore[no-untyped-call]
        total, squares, count = torch.split(summed, [x.shape[1], x.shape[1], 1])
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0.0)
        if self.track_running_stats:
            self._update(mean.detach(), (variance * count / (count - 1.0)).detach())
        shape = [1, -1] + [1] * (x.ndim - 2)
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale + self.bias if self.affine else -mean * scale
        # Not shifted in float32: the mean of a channel can be much larger than its deviation.
        return torch.addcmul(shift.view(shape), wide, scale.view(shape)).to(x.dtype)

    def _update(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Move the running statistics."""
        assert self.running_mean is not None  # noqa: S101 - track_running_stats  # nosec B101
        assert self.running_var is not None  # noqa: S101  # nosec B101
        assert self.num_batches_tracked is not None  # noqa: S101  # nosec B101
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), factor)
        self.running_var.lerp_(variance.to(self.running_var), factor)

    def _check_input_dim(self, x: torch.Tensor) -> None:
        del x


@dataclass
class Rows:
    """The rows that the processes embed in the current step.

    Attributes
    ----------
    sizes : list of int
        Number of rows of each process.
    rank : int
        Number of this process.
    """

    sizes: list[int]
    rank: int


class SynchronisedDropout(nn.Dropout):
    """Dropout with the mask that one process would draw for the whole batch, on the CPU.

    The random generators of all processes draw the same numbers and remain in the same state, although the processes
    may have different numbers of rows.
    """

    def __init__(self, rate: float, rows: Rows) -> None:
        super().__init__(rate)
        self.rows = rows

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, ...)`` to the same shape."""
        if not self.training or self.p == 0.0:
            return x
        whole = x.new_empty((sum(self.rows.sizes), *x.shape[1:]))
        if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
            whole = whole.contiguous(memory_format=torch.channels_last)
        # As torch computes dropout on the CPU, so that the same seed gives the same mask.
        mask = whole.bernoulli_(1.0 - self.p).div_(1.0 - self.p)
        return x * torch.split(mask, self.rows.sizes)[self.rows.rank]


def synchronise(network: nn.Module, device: str, rows: Rows) -> nn.Module:
    """Replace the layers of a network that depend on other rows of the batch; return the network.

    The names and the tensors of its state remain the same.
    """
    if device == "cuda":
        synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return synchronised
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(network, name, _synchronised(child))
        elif isinstance(child, nn.Dropout):
            setattr(network, name, SynchronisedDropout(child.p, rows))
        else:
            synchronise(child, device, rows)
    return network


def _synchronised(norm: _BatchNorm) -> SynchronisedBatchNorm:
    replaced = SynchronisedBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    # The same tensors, which optimisers and other modules may refer to.
    for name, parameter in norm.named_parameters(recurse=False):
        setattr(replaced, name, parameter)
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(replaced, name, buffer)
    return replaced.train(norm.training)
