"""Quantisation of local networks to 8-bit integers, for forward passes on CPUs with integer dot products (VNNI).

The two stages, where most of the operations are, compute with 8-bit weights (a scale for each output channel) and
8-bit activations (a scale for each tensor). The stem stays in float32: with an 8-bit stem, embeddings changed seven
times as much. See Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", CVPR 2018.
"""

from __future__ import annotations

import copy
import warnings

import torch
from torch import nn

from model.networks.local import LocalNetwork

ENGINE = "x86"
STAGES = ("fine", "coarse")
BATCH = 8


def is_worth_quantising() -> bool:
    """Whether this CPU has dot products of 8-bit integers, and torch the operations that use them."""
    capabilities = torch.cpu.get_capabilities()
    has_vnni = bool(capabilities.get("avx512_vnni") or capabilities.get("avx_vnni"))
    return has_vnni and ENGINE in torch.backends.quantized.supported_engines


def quantise(network: nn.Module, canvases: torch.Tensor) -> nn.Module:
    """Return a copy of a network in which the stages of each local network compute with 8-bit integers.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, with folded norms (:func:`model.networks.folding.fold_norms`), on the CPU.
    canvases : (n, 1, h, w) float32
        The ranges of the activations are those observed on these canvases.
    """
    # Imported where they are needed, because that takes half a second.
    from torch.ao.quantization import (  # noqa: PLC0415
        MinMaxObserver,
        PerChannelMinMaxObserver,
        QConfig,
        get_default_qconfig_mapping,
    )
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx  # noqa: PLC0415

    weight = PerChannelMinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_channel_symmetric)
    activation = MinMaxObserver.with_args(dtype=torch.quint8)
    quantised = copy.deepcopy(network)
    members = [module for module in quantised.modules() if isinstance(module, LocalNetwork)]
    with warnings.catch_warnings():
        # torch announces that this interface moves to the package torchao; the operations themselves stay in torch.
        warnings.simplefilter("ignore")
        config = QConfig(activation, weight)  # type: ignore[no-untyped-call]
        mapping = get_default_qconfig_mapping(ENGINE).set_global(config)
        for member in members:
            for stage in STAGES:
                observed = prepare_fx(getattr(member, stage), mapping, (canvases[:1],))
                setattr(member, stage, observed)
        with torch.no_grad():
            for batch in torch.split(canvases, BATCH):
                quantised(batch)
        for member in members:
            for stage in STAGES:
                setattr(member, stage, convert_fx(getattr(member, stage)))
    return quantised
