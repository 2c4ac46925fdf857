"""How canvases travel to a Ray Serve deployment and embeddings travel back, over HTTP.

A request is a POST whose body is the canvases one after the other, ``(n, height, width)`` uint8, and whose header
:data:`MODEL` names the weights. The response is the embeddings, ``(n, dimension)`` float32, little-endian. Both sides
know the sizes from the card of the weights. A GET returns the weights' version in :data:`MODEL`.
"""

from __future__ import annotations

ROUTE = "/countersign"
MODEL = "x-countersign-model"
NETWORK_S = "x-countersign-network-s"
"""Seconds that the network took, in the response."""
EMBEDDINGS = "<f4"
OTHER_MODEL = 409
"""Status of a request for other weights than those of the deployment."""
