"""Types that the packages of the model share."""

from __future__ import annotations

from typing import Literal

Terms = Literal["research", "permissive"]
"""Licence terms of data, and of the weights and calibrations that were made from it."""

Metric = Literal["euclidean", "cosine", "local"]
"""How embeddings are compared; ``local`` is the network's own :class:`model.networks.matching.LocalMatching`."""
