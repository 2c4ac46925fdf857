"""``python -m app serve``: the service on a socket, until SIGTERM."""

from __future__ import annotations

import gc
import logging
import socket
import sys
import threading
from types import FrameType
from typing import Annotated

import typer
import uvicorn

from app.http.connection import BoundedHeadProtocol
from app.settings import load_settings

GIL_SWITCH_S = 0.001
"""Seconds after which a thread in Python lets another one in. The network's asks for the lock anew after each of its
layers: with the 5 ms of CPython's own choice, more of the processor lies idle under load."""

_log = logging.getLogger(__name__)


def serve(
    host: Annotated[str | None, typer.Option(help="Instead of COUNTERSIGN_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Instead of COUNTERSIGN_PORT.")] = None,
) -> None:
    """Load the weights, open the store and serve until SIGTERM."""
    settings = load_settings()  # before what takes long to import: a wrong setting is told at once
    from app.main import create_app  # noqa: PLC0415 - torch comes with it, and no other command needs that
    from app.observability.logs import configure_logging  # noqa: PLC0415 - SciPy comes with it

    given = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    settings = settings.model_copy(update=given)
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
    server = DrainingServer(config, settings.drain_s)
    server.run()
    if not server.started:
        raise SystemExit(1)


class DrainingServer(uvicorn.Server):
    """A server that first says it is not ready, then closes its door, then answers what it has accepted.

    Parameters
    ----------
    config : uvicorn.Config
        Whose `app` is the application itself.
    drain_s : float
        Seconds between the signal and the closing of the door; a second signal closes it at once.
    """

    def __init__(self, config: uvicorn.Config, drain_s: float) -> None:
        super().__init__(config)
        self._drain_s = drain_s
        self._draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the door, and spare the requests a look through all that the start has loaded.

        The model and the libraries are some 300,000 objects that stay; a full garbage collection would stop every
        request for as long as it takes to find that out.
        """
        await super().startup(sockets)
        gc.collect()
        gc.freeze()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take SIGTERM or SIGINT."""
        self.config.app.state.closing = True  # type: ignore[union-attr]  # the application, not its name
        if self._draining or not self._drain_s or not self.started:
            super().handle_exit(sig, frame)
            return
        self._draining = True
        _log.info("draining: not ready, still serving for %g s", self._drain_s)
        timer = threading.Timer(self._drain_s, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()


def _without_lifespan_traceback(record: logging.LogRecord) -> bool:
    """Keep a refusal to start to one line: what uvicorn prints is a traceback that ends in it."""
    message = record.getMessage()
    if "StartRefused" in message:
        refusal = next(line for line in reversed(message.splitlines()) if "StartRefused" in line)
        record.msg = refusal.partition("StartRefused: ")[2]
        record.args = ()
    return "Application startup failed" not in message
