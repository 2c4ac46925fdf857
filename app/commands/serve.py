"""``python -m app serve``: runs the service until SIGTERM."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvicorn

from app.commands.common import exit_status
from app.domain.errors import InvalidSettings, StartRefused
from app.http.connection import BoundedHeadProtocol
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

GIL_SWITCH_S = 0.001
"""Switch interval of the interpreter lock in seconds.

The thread of the network requests the lock again after each layer. With CPython's default of 5 ms, the processor is
idle for a larger share of the time under load.
"""

_REFUSAL_TYPES: tuple[type[StartRefused], ...] = (StartRefused, *StartRefused.__subclasses__())
_REFUSALS = {f"{kind.__module__}.{kind.__qualname__}" for kind in _REFUSAL_TYPES}
"""What the last line of the traceback of a refused start begins with."""
_log = logging.getLogger(__name__)


def serve(
    host: Annotated[str | None, typer.Option(help="Overrides COUNTERSIGN_HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Overrides COUNTERSIGN_PORT.")] = None,
) -> None:
    """Load the weights, open the store and serve until SIGTERM."""
    settings = load_settings()  # before the slow imports: an invalid setting is reported immediately
    overrides = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    run_service(settings.model_copy(update=overrides))


def run_service(
    settings: Settings, beside: Callable[[FastAPI], Coroutine[Any, Any, None]] | None = None
) -> None:
    """Serve with these settings until SIGTERM.

    Parameters
    ----------
    beside : callable, optional
        Runs as a task from when the port is open; it is cancelled when the service stops.
    """
    _refuse_port_in_use(settings.host, settings.port)
    gc.disable()  # until the service has started: collections take a sixth of the time of the imports
    from app.main import create_app  # noqa: PLC0415 - imports torch, which other commands do not need
    from app.observability.logs import configure_logging  # noqa: PLC0415 - imports SciPy

    configure_logging(settings.log_level, settings.log_format)
    sys.setswitchinterval(GIL_SWITCH_S)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedHeadProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=round(settings.shutdown_grace_s),
    )
    logging.getLogger("uvicorn.error").addFilter(_without_lifespan_traceback)
    server = DrainingServer(config, settings.drain_s, None if beside is None else partial(beside, app))
    try:
        server.run()
    except SystemExit:  # uvicorn ends a start that failed with a status of its own
        if server.started:
            raise
    if not server.started:
        raise SystemExit(exit_status(app.state.refusal))


def _refuse_port_in_use(host: str, port: int) -> None:
    """Find out before the slow start that the port cannot be opened.

    Raises
    ------
    StartRefused
        Another process listens on it, or this one may not.
    InvalidSettings
        The host is no address of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise InvalidSettings(f"COUNTERSIGN_HOST={host} cannot be resolved: {error.strerror}.") from error
    results = [_bind_error(family, address) for family, *_, address in found]
    failed = [result for result in results if result is not None]
    for fault in failed:
        if fault.errno in {errno.EADDRINUSE, errno.EACCES}:
            raise StartRefused(
                f"Port {port} of {host} cannot be opened: {fault.strerror}. Choose another one with --port or "
                "COUNTERSIGN_PORT, or stop the process that uses it."
            ) from fault
    if len(failed) == len(found):  # localhost may name an address that this machine lacks
        raise InvalidSettings(
            f"COUNTERSIGN_HOST={host} is no address of this machine: {failed[0].strerror}."
        ) from failed[0]


def _bind_error(family: int, address: Any) -> OSError | None:
    """Open a port as asyncio does, without listening, and close it; return what goes wrong."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


class DrainingServer(uvicorn.Server):
    """A server with a drain period: after SIGTERM it fails the readiness check but still serves, then shuts down.

    Parameters
    ----------
    config : uvicorn.Config
        Its `app` must be the application object, not an import string.
    drain_s : float
        Seconds between the first signal and the closing of the port; a second signal closes it immediately.
    beside : callable, optional
        Runs as a task from when the port is open until the service stops.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain_s: float,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        super().__init__(config)
        self._drain_s = drain_s
        self._draining = False
        self._beside = beside
        self._task: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, and exclude all existing objects from garbage collection.

        The model and the libraries consist of about 300,000 permanent objects. A full collection would traverse them
        and block all requests meanwhile.
        """
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.enable()
        if self._beside is not None and self.started:
            self._task = asyncio.create_task(self._beside())
            self._task.add_done_callback(_log_failure)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the task, then close the port and finish the accepted requests."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGTERM or SIGINT."""
        self.config.app.state.closing = True  # type: ignore[union-attr]  # not an import string
        if self._draining or not self._drain_s or not self.started:
            super().handle_exit(sig, frame)
            return
        self._draining = True
        _log.info("draining: the readiness check fails, requests are served for another %g s", self._drain_s)
        timer = threading.Timer(self._drain_s, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the task beside the service failed", exc_info=error)


def _without_lifespan_traceback(record: logging.LogRecord) -> bool:
    """Reduce the traceback of a refused start to the line with the reason; a filter of uvicorn's log."""
    message = record.getMessage()
    for line in reversed(message.splitlines()):
        name, _, reason = line.partition(": ")
        if name in _REFUSALS:
            record.msg = reason
            record.args = ()
            break
    return "Application startup failed" not in message
