"""Settings of the network: the address, proxies and browsers, and the limits on requests and uploads."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from app.domain.errors import InvalidSettings
from app.settings.base import Options

_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.~-]+", re.ASCII)
"""A part of a path that needs no percent-encoding, and that no client removes."""


class NetworkOptions(Options):
    """Where the service listens, and how much it accepts at once."""

    # The address
    host: str = Field(
        default="127.0.0.1", description="Address to listen on. Any but a loopback address needs a key."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on.")
    root_path: str = Field(
        default="",
        description="Path under which a proxy publishes the service, such as /countersign. Links and redirects begin "
        "with it, whether the proxy strips it or not. Needs a key.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated origins of web pages whose scripts may call the service (CORS), such as "
        "https://review.bank.example; * for any. Empty: pages of the service's own origin only.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Comma-separated addresses or networks of proxies whose X-Forwarded-For is trusted to name the "
        "client, in the log and for the limit on invalid keys. Empty: the header is ignored.",
    )
    drain_s: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="Seconds after SIGTERM during which /readyz fails and requests are still served, so that load "
        "balancers stop sending requests before the port closes.",
    )
    shutdown_grace_s: float = Field(
        default=30.0,
        ge=0,
        description="Seconds that accepted requests get to finish after the port has closed; at least `deadline_s`.",
    )

    # Load
    max_requests: int = Field(
        default=64,
        ge=1,
        description="Maximum number of requests with images in flight, from the first byte of the body to the "
        "answer; further ones get a 503 before their body is read.",
    )
    max_inflight_bytes: int = Field(
        default=256 * 2**20,
        ge=1024,
        description="Maximum number of bytes of the bodies of these requests together; further requests get a 503. "
        "At least `max_request_bytes`.",
    )
    deadline_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds from the last byte of a request to the beginning of its write. After that, the "
        "request is cancelled, nothing is stored, and the caller gets a 503.",
    )
    upload_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds within which the body of a request must arrive; after that, the caller gets a 408.",
    )
    keep_alive_s: int = Field(
        default=10, ge=1, le=3600, description="Seconds that an idle connection is kept open."
    )

    # Uploads
    max_upload_bytes: int = Field(
        default=10 * 2**20, ge=1024, description="Maximum size of one image in bytes."
    )
    max_pixels: int = Field(
        default=40_000_000,
        ge=10_000,
        description="Maximum number of pixels of one image, checked before decoding.",
    )
    max_files: int = Field(default=20, ge=1, le=500, description="Maximum number of files in one request.")
    max_request_bytes: int = Field(
        default=64 * 2**20, ge=1024, description="Maximum size of one request in bytes."
    )

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, value: str) -> str:
        path = value.strip().rstrip("/")
        segments = path.split("/")
        if segments[0] or any(not _SEGMENT.fullmatch(one) for one in segments[1:]):
            raise ValueError(
                f"{value!r} is not a path such as /countersign: it begins with a slash, and each part has letters, "
                "digits, hyphens, underscores, dots or tildes"
            )
        return path

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _parse_origins(cls, value: object) -> object:
        origins = value.split(",") if isinstance(value, str) else value
        if not isinstance(origins, list | tuple):
            return value
        origins = tuple(str(part).strip().lower().rstrip("/") for part in origins if str(part).strip())
        for origin in origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/?#@*]+", origin):
                raise ValueError(
                    f"{origin!r} is not an origin such as https://review.bank.example or http://localhost:3000"
                )
        return origins

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.max_upload_bytes > self.max_request_bytes:
            raise ValueError(
                "max_upload_bytes must not be larger than max_request_bytes: no such file would be accepted"
            )
        if self.max_request_bytes > self.max_inflight_bytes:
            raise ValueError("max_inflight_bytes must not be smaller than max_request_bytes")
        if self.shutdown_grace_s < self.deadline_s:
            raise ValueError(
                "shutdown_grace_s must not be smaller than deadline_s, or accepted requests would be interrupted"
            )
        return self

    @property
    def loopback(self) -> bool:
        """Whether the service can be reached from this machine only."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def refuse_public_without_keys(self, *, keys: bool) -> None:
        """Raise InvalidSettings when the network could call the service without a key.

        Parameters
        ----------
        keys : bool
            Whether there is a valid key, configured or in the store.
        """
        if keys:
            return
        remedy = (
            "Make a key (`python -m app keys create NAME --scope SCOPE`, or set COUNTERSIGN_BOOTSTRAP_KEY)"
        )
        if not self.loopback:
            raise InvalidSettings(
                f"COUNTERSIGN_HOST={self.host} is not a loopback address and there is no valid API key: anyone "
                f"could enrol and verify. {remedy}, or listen on 127.0.0.1."
            )
        if self.root_path or self.trusted_proxies:
            raise InvalidSettings(
                "COUNTERSIGN_ROOT_PATH or COUNTERSIGN_TRUSTED_PROXIES names a proxy and there is no valid API key: "
                f"behind a proxy, all requests seem to come from this machine. {remedy}, or leave them empty."
            )
