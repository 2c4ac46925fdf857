"""Optimisers and learning-rate schedules, by the names that recipes use."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from model.training.recipes import OptimiserSpec, ScheduleSpec


def build_optimiser(spec: OptimiserSpec, network: nn.Module, objectives: nn.Module) -> torch.optim.Optimizer:
    """An optimiser over the network's and the objectives' parameters.

    Weight decay applies to matrices and kernels alone: biases, norms' scales and what objectives learn go without.
    """
    decayed = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1] + list(objectives.parameters())
    groups: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": spec.weight_decay},
        {"params": rest, "weight_decay": 0.0},
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
    """``strength * sum(w**2)`` over matrices and kernels: a scalar."""
    return strength * torch.stack([p.square().sum() for p in parameters if p.ndim > 1]).sum()


def rate_factor(spec: ScheduleSpec, step: int, epoch: int, progress: float) -> float:
    """What the learning rate is multiplied by, in [0, 1].

    Parameters
    ----------
    step, epoch : int
        From 0.
    progress : float
        Share of the run that is done, in [0, 1].
    """
    warm = min(1.0, (step + 1) / spec.warmup_steps) if spec.warmup_steps else 1.0
    match spec.name:
        case "constant":
            return warm
        case "cosine":
            return warm * (
                spec.final + (1.0 - spec.final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
            )
        case "steps":
            return warm * spec.factor ** (epoch // spec.every_epochs)
