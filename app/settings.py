"""Every option of the service, in one class; documented here and nowhere else.

Each is read from the environment with the prefix ``COUNTERSIGN_`` (``COUNTERSIGN_PORT=9000``), then from a file
``.env`` in the working directory, then from the default below. `python -m app config` prints them all. A variable
with the prefix that is no setting, and settings that contradict each other, are refused at start.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import StartRefused

ROOT = Path(__file__).resolve().parent.parent
RELEASED_WEIGHTS = ROOT / "weights" / "countersign-1"
"""The model that is served unless another one is named."""

PREFIX = "COUNTERSIGN_"

Scope = Literal["enrol", "verify", "read", "admin"]
SCOPES: tuple[Scope, ...] = ("enrol", "verify", "read", "admin")
_KEY_FORM = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,64}):(?P<digest>[0-9a-f]{64})(?::(?P<scopes>[a-z+]+))?")


class ApiKey(BaseModel):
    """A key as it is configured: its name, the SHA-256 of its text, and what it may do."""

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: SecretStr
    scopes: frozenset[Scope]
    tenant_id: str = "default"

    @classmethod
    def parse(cls, text: str) -> ApiKey:
        """Read ``NAME:SHA256`` or ``NAME:SHA256:SCOPE+SCOPE``; without scopes a key may do everything."""
        match = _KEY_FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                "an API key is configured as NAME:SHA256 or NAME:SHA256:SCOPE+SCOPE; "
                "make one with `python -m app new-key NAME`"
            )
        named = (match["scopes"] or "admin").split("+")
        if unknown := sorted(set(named) - set(SCOPES)):
            raise ValueError(f"unknown scope {', '.join(unknown)}; there are {', '.join(SCOPES)}")
        return cls.model_validate({"name": match["name"], "sha256": match["digest"], "scopes": named})


class Settings(BaseSettings):
    """The options of one service process."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, validate_default=True
    )

    # Where it listens
    host: str = Field(
        default="127.0.0.1", description="Address to listen on. Any but a loopback address needs `api_keys`."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on.")
    root_path: str = Field(
        default="", description="Path under which a proxy publishes the service, for the docs page."
    )
    drain_s: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="Seconds after SIGTERM in which /readyz says no and everything is still served, so that load "
        "balancers send new requests elsewhere before the door closes.",
    )
    shutdown_grace_s: float = Field(
        default=30.0,
        ge=0,
        description="Seconds that accepted requests get to finish after the door has closed; `deadline_s` at least.",
    )

    # Who may call
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated keys, each NAME:SHA256 or NAME:SHA256:SCOPE+SCOPE with scopes enrol, verify, "
        "read and admin; `python -m app new-key NAME` makes one. None: the service serves this machine only.",
    )

    # The model
    weights: Path = Field(
        default=RELEASED_WEIGHTS, description="Folder of the weights, their card and their calibration."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the network runs; auto takes CUDA when there is a CUDA device."
    )
    batch_size: int = Field(
        default=32, ge=1, le=4096, description="Most signatures in one pass of the network."
    )
    queue_size: int = Field(
        default=256,
        ge=1,
        description="Most signatures that wait for the network; beyond it callers get a 503.",
    )
    network_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads of one pass of the network on the CPU; 0: half the cores, as decoding has the others.",
    )
    reading_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads that decode images and isolate ink beside the event loop; 0: one for each core.",
    )

    # Load
    max_requests: int = Field(
        default=64,
        ge=1,
        description="Most requests with images that are in hand at once, from the first byte of the body to the "
        "answer; one more gets a 503 before its body is read.",
    )
    max_bytes_in_hand: int = Field(
        default=256 * 2**20,
        ge=1024,
        description="Most bytes that the bodies of these requests have together; beyond it callers get a 503. At "
        "least `max_request_bytes`.",
    )
    deadline_s: float = Field(
        default=10.0,
        gt=0,
        description="Seconds from a request's last byte within which its answer must be ready to be kept; later it "
        "is dropped, nothing is stored, and the caller gets a 503.",
    )
    upload_timeout_s: float = Field(
        default=30.0, gt=0, description="Seconds in which a request's body must have come; later it is a 408."
    )
    keep_alive_s: int = Field(
        default=10, ge=1, le=3600, description="Seconds that an idle connection is kept open."
    )

    # The decision
    target_far: float = Field(
        default=0.10,
        gt=0,
        lt=1,
        description="Share of skilled forgeries that may pass as genuine: it sets the threshold of `accept`. "
        "Can be set for each signer.",
    )
    review_far: float | None = Field(
        default=0.30,
        gt=0,
        lt=1,
        description="A larger share up to whose threshold the decision is `review` instead of `reject`; "
        "empty: there is no review.",
    )
    fixed_threshold: float | None = Field(
        default=None,
        gt=0,
        description="A bare distance to accept up to, instead of `target_far`, for everybody. Its error rates "
        "are whatever they are; `target_far` is what states them.",
    )
    min_references: int = Field(
        default=1,
        ge=1,
        le=50,
        description="References that a signer needs before anything is verified against them.",
    )
    max_references: int = Field(
        default=50, ge=1, le=1000, description="Most references that are kept of one signer."
    )

    # The store
    database_url: str = Field(
        default="sqlite:///var/countersign.sqlite3",
        description="SQLAlchemy URL of the store. SQLite needs nothing else; its file is made when new.",
    )
    store_threads: int = Field(
        default=8, ge=1, le=64, description="Connections to the store, each on its own thread."
    )

    # Uploads
    max_upload_bytes: int = Field(default=10 * 2**20, ge=1024, description="Most bytes of one image.")
    max_pixels: int = Field(
        default=40_000_000, ge=10_000, description="Most pixels of one image, checked before decoding."
    )
    max_files: int = Field(default=20, ge=1, le=500, description="Most files in one request.")
    max_request_bytes: int = Field(default=64 * 2**20, ge=1024, description="Most bytes of one request.")

    # What it says
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much is logged."
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="One JSON object a line, or plain text."
    )
    drift_window: int = Field(
        default=1000,
        ge=100,
        le=1_000_000,
        description="Latest verifications whose distances are compared with the calibration's for the drift metrics.",
    )
    outcome_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="Days of recorded outcomes that the live FAR and FRR are counted over.",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Base address of an OpenTelemetry collector (OTLP over HTTP), such as http://collector:4318; "
        "empty: no traces. Needs the extra `tracing`.",
    )
    trace_share: float = Field(
        default=1.0, gt=0, le=1, description="Share of requests that are traced, unless their caller decided."
    )

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_keys(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(ApiKey.parse(part) for part in value.split(",") if part.strip())
        return value

    @field_validator("review_far", "fixed_threshold", "otlp_endpoint", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.review_far is not None and self.review_far <= self.target_far:
            raise ValueError("review_far must be larger than target_far, or empty")
        if self.max_references < self.min_references:
            raise ValueError("max_references must not be smaller than min_references")
        if self.max_upload_bytes > self.max_request_bytes:
            raise ValueError(
                "max_upload_bytes must not be larger than max_request_bytes: no such file could come"
            )
        if self.max_request_bytes > self.max_bytes_in_hand:
            raise ValueError("max_bytes_in_hand must not be smaller than max_request_bytes")
        if self.shutdown_grace_s < self.deadline_s:
            raise ValueError(
                "shutdown_grace_s must not be smaller than deadline_s, or work that was accepted would be cut off"
            )
        names = [key.name for key in self.api_keys]
        if len(set(names)) != len(names):
            raise ValueError("two api_keys have the same name")
        return self

    @property
    def threads(self) -> tuple[int, int]:
        """Threads that read images, and threads of one pass of the network: together what the cores can carry.

        Reading an image takes several times as long as the network takes over it, so every core gets a reading
        thread; the network's own threads are half as many, as its passes are short and few.
        """
        cores = usable_cores()
        return self.reading_threads or cores, self.network_threads or max(1, cores // 2)

    @property
    def loopback(self) -> bool:
        """Whether the service listens where only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def refuse_open_door(self) -> None:
        """Raise StartRefused when anybody on the network could call the service without a key."""
        if not self.api_keys and not self.loopback:
            raise StartRefused(
                f"COUNTERSIGN_HOST={self.host} is not a loopback address and no API key is configured: anybody "
                "could enrol and verify. Set COUNTERSIGN_API_KEYS (`python -m app new-key NAME` makes a key), "
                "or listen on 127.0.0.1."
            )


def load_settings() -> Settings:
    """Read the settings from the environment; raise StartRefused with one line on what is wrong."""
    refuse_unknown([*os.environ, *dotenv_values(".env")])
    try:
        return Settings()
    except ValidationError as error:
        faults = (
            f"{PREFIX + str(fault['loc'][0]).upper() if fault['loc'] else 'settings'}: "
            f"{fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise StartRefused("; ".join(faults)) from None


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise StartRefused when a variable has the service's prefix and is no setting: it was meant to do something."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted({n for n in names if n.upper().startswith(PREFIX) and n.upper() not in known})
    if not unknown:
        return
    said = []
    for name in unknown:
        near = difflib.get_close_matches(name.upper(), known, 1, 0.8)
        said.append(f"{name} is no setting" + (f" (did you mean {near[0]}?)" if near else ""))
    raise StartRefused(
        f"{'; '.join(said)}. Remove or correct it; `python -m app config` lists the settings. (Kubernetes makes such "
        "variables for a Service named countersign: set enableServiceLinks to false.)"
    )


def usable_cores() -> int:
    """Cores that this process may run on: its affinity, or the container's quota where that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        limit = cores if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        limit = cores
    return min(cores, limit)
