"""Optimisers, learning-rate schedules and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import chain

import torch
from torch import nn

from model.training.recipes import OptimiserSpec, ScheduleSpec


def build_optimiser(spec: OptimiserSpec, network: nn.Module, objectives: nn.Module) -> torch.optim.Optimizer:
    """Build an optimiser over the parameters of the network and of the objectives.

    Weight decay applies to matrices and kernels only, not to biases, normalisation scales or the parameters of the
    objectives.
    """
    decayed = [p for p in network.parameters() if p.ndim > 1]
    not_decayed = [p for p in network.parameters() if p.ndim <= 1] + list(objectives.parameters())
    groups: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": spec.weight_decay},
        {"params": not_decayed, "weight_decay": 0.0},
    ]
    rate = spec.learning_rate
    match spec.name:
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=rate, momentum=spec.momentum, alpha=0.9, eps=1e-8)
        case "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=spec.momentum, nesterov=spec.momentum > 0)
        case "adam":
            return torch.optim.Adam(groups, lr=rate)
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate)


def l2_penalty(parameters: Iterable[nn.Parameter], strength: float) -> torch.Tensor:
    """Compute ``strength * sum(w**2)`` over matrices and kernels: a scalar."""
    return strength * torch.stack([p.square().sum() for p in parameters if p.ndim > 1]).sum()


def rate_factor(spec: ScheduleSpec, step: int, epoch: int, progress: float) -> float:
    """Return the factor on the learning rate, in [0, 1].

    Parameters
    ----------
    step, epoch : int
        Counted from 0.
    progress : float
        Completed share of the run, in [0, 1].
    """
    warmup = min(1.0, (step + 1) / spec.warmup_steps) if spec.warmup_steps else 1.0
    match spec.name:
        case "constant":
            return warmup
        case "cosine":
            return warmup * (
                spec.final + (1.0 - spec.final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
            )
        case "steps":
            return warmup * spec.factor ** (epoch // spec.every_epochs)


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Set ``average = decay * average + (1 - decay) * network``.

    Running statistics are averaged too; integer buffers (counters) are copied.
    """
    floats: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    with torch.no_grad():
        for averaged, current in zip(
            chain(average.parameters(), average.buffers()),
            chain(network.parameters(), network.buffers()),
            strict=True,
        ):
            if averaged.is_floating_point():
                floats[0].append(averaged)
                floats[1].append(current)
            else:
                averaged.copy_(current)
        # One kernel for all tensors, as torch.optim.swa_utils does it.
        torch._foreach_lerp_(floats[0], floats[1], 1.0 - decay)
