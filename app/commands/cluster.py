"""Joining a Ray cluster from a command."""

from __future__ import annotations

import importlib.util

from app.domain.errors import StartRefused


def join_cluster(address: str) -> None:
    """Connect this process to a Ray cluster.

    Parameters
    ----------
    address : str
        ``auto`` on one of its nodes, ``HOST:PORT``, or ``ray://HOST:PORT``.

    Raises
    ------
    StartRefused
        Ray is not installed, or the cluster cannot be joined.
    """
    if importlib.util.find_spec("ray") is None:
        raise StartRefused("A Ray cluster needs the extra `ray`: pip install -e '.[ray]' -c constraints.txt.")
    import ray  # noqa: PLC0415 - an extra

    try:
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise StartRefused(f"The Ray cluster {address} cannot be joined: {error}") from error
