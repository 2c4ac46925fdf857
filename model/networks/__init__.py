"""The networks, by name: ``build("article")`` gives an ``nn.Module``.

Each takes ``(batch, 1, height, width) float32 in [0, 1], ink = 1`` and returns ``(batch, dimension) float32``.
A new network is a module in this folder and one line in the table below. A batch normalisation is registered
straight after the layer whose output it takes, so that `model.networks.folding` finds the two.
"""

from __future__ import annotations

from importlib import import_module

from torch import nn

NETWORKS: dict[str, str] = {
    "article": "model.networks.article:ArticleNetwork",
    "local": "model.networks.local:LocalNetwork",
    "layout": "model.networks.layout:LayoutNetwork",
    "refined": "model.networks.refined:Refined",
    "signet": "model.networks.signet:SigNet",
}


class UnknownNetwork(ValueError):
    """No network of that name is in the table."""


def build(name: str, **options: object) -> nn.Module:
    """Build a network with fresh weights.

    Raises
    ------
    UnknownNetwork
        ``name`` is not in :data:`NETWORKS`.
    TypeError
        The network has no such option.
    """
    try:
        module, class_name = NETWORKS[name].split(":")
    except KeyError:
        known = ", ".join(sorted(NETWORKS))
        raise UnknownNetwork(f"there is no network {name!r}; known are {known}") from None
    network = getattr(import_module(module), class_name)(**options)
    if not isinstance(network, nn.Module):
        raise TypeError(f"{NETWORKS[name]} is not a torch module")
    return network
