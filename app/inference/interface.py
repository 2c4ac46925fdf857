"""What use cases need from inference, wherever the network runs: in this process or in a Ray Serve deployment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.uint8]


@dataclass(frozen=True)
class Batch:
    """Durations of one batch: how long each signature was queued, and how long the network took."""

    waited_s: tuple[float, ...]
    network_s: float


class Inference(Protocol):
    """Embeds signatures for many callers at once."""

    @property
    def depth(self) -> int:
        """Number of signatures that wait for the network."""
        ...

    @property
    def alive(self) -> bool:
        """Whether signatures can be embedded without a restart of the service."""
        ...

    @property
    def busy_s(self) -> float:
        """Seconds for which this process has been computing the current batch; 0 when there is none."""
        ...

    async def embed(self, canvases: Sequence[Canvas]) -> NDArray[np.float32]:
        """Embed signatures, each (height, width) uint8 with ink = 255 -> (n, dimension) float32.

        Raises
        ------
        Busy
            Too many signatures are waiting; none was queued.
        NotReady
            The service is shutting down, or the network cannot be reached.
        """
        ...

    async def check(self) -> None:
        """Raise NotReady when the network cannot be reached now."""
        ...

    async def close(self) -> None:
        """Refuse new signatures, finish those that were accepted, and release everything."""
        ...
