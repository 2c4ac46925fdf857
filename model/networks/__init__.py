"""The networks by name: ``build("article")`` returns an ``nn.Module``.

All networks map ``(batch, 1, height, width) float32 in [0, 1], ink = 1`` to ``(batch, dimension) float32``.

To add a network, add a module to this package and an entry to :data:`NETWORKS`. Register each batch normalisation
directly after the layer whose output it normalises; :mod:`model.networks.folding` relies on this order.
"""

from __future__ import annotations

from importlib import import_module

from torch import nn

NETWORKS: dict[str, str] = {
    "article": "model.networks.article:ArticleNetwork",
    "ensemble": "model.networks.ensemble:LocalEnsemble",
    "local": "model.networks.local:LocalNetwork",
    "layout": "model.networks.layout:LayoutNetwork",
    "refined": "model.networks.refined:Refined",
    "signet": "model.networks.signet:SigNet",
}


class UnknownNetwork(ValueError):
    """There is no network with this name."""


def build(name: str, **options: object) -> nn.Module:
    """Build a network with randomly initialised weights.

    Raises
    ------
    UnknownNetwork
        The name is not in :data:`NETWORKS`.
    TypeError
        The network has no such option.
    """
    try:
        module, class_name = NETWORKS[name].split(":")
    except KeyError:
        known = ", ".join(sorted(NETWORKS))
        raise UnknownNetwork(f"there is no network {name!r}; choose from {known}") from None
    network = getattr(import_module(module), class_name)(**options)
    if not isinstance(network, nn.Module):
        raise TypeError(f"{NETWORKS[name]} is not a torch module")
    return network
