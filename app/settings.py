"""Every option of the service, in one class; documented here and nowhere else.

Each is read from the environment with the prefix ``COUNTERSIGN_`` (``COUNTERSIGN_PORT=9000``), then from a file
``.env`` in the working directory, then from a file of that name in lower case in ``/run/secrets`` (where containers
find their secrets: ``/run/secrets/countersign_database_url``), then from the default below. `python -m app settings`
prints them all.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self

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
SECRETS = Path("/run/secrets")

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
        env_prefix="COUNTERSIGN_",
        env_file=".env",
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        extra="ignore",
        frozen=True,
        validate_default=True,
    )

    # Where it listens
    host: str = Field(
        default="127.0.0.1", description="Address to listen on. Any but a loopback address needs `api_keys`."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on.")
    root_path: str = Field(
        default="", description="Path under which a proxy publishes the service, for the docs page."
    )
    shutdown_grace_s: float = Field(
        default=30.0, ge=0, description="Seconds that accepted requests get to finish after SIGTERM."
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
    reading_threads: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Threads that decode images and isolate ink beside the event loop.",
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

    # What is kept, and under which key
    encryption_keys: SecretStr | None = Field(
        default=None,
        description="Keys that encrypt images, templates and kept answers: comma-separated, each ID:BASE64 of 32 "
        "bytes. The last one encrypts, the others still decrypt. `python -m app encryption new-key` makes one.",
    )
    encryption_key_file: Path | None = Field(
        default=None,
        description="A file with such keys instead, one a line; read again when it changes. Neither set: on a "
        "loopback address and SQLite, a file beside the store is made at the first start.",
    )
    encryption_key_id: str | None = Field(
        default=None,
        description="Id of the key that encrypts, where it is not to be the last one: lets every replica know a "
        "new key before the first one writes with it.",
    )
    erasure_log: Path | None = Field(
        default=None,
        description="File that repeats what was erased, by keyed digests, so that a restored backup does not bring "
        "it back: keep it apart from the backups, on a disk that all replicas share. Empty: beside the SQLite "
        "file; for other databases there is none.",
    )
    keep_questioned_days: float = Field(
        default=0.0,
        ge=0,
        le=36_500,
        description="Days for which the images of questioned signatures are kept, encrypted; 0 keeps none.",
    )
    keep_answers_hours: float = Field(
        default=168.0,
        gt=0,
        le=87_600,
        description="Hours for which an Idempotency-Key and the answer under it are remembered.",
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

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_keys(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(ApiKey.parse(part) for part in value.split(",") if part.strip())
        return value

    @field_validator(
        "review_far",
        "fixed_threshold",
        "encryption_keys",
        "encryption_key_file",
        "encryption_key_id",
        "erasure_log",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.review_far is not None and self.review_far <= self.target_far:
            raise ValueError("review_far must be larger than target_far, or empty")
        if self.max_references < self.min_references:
            raise ValueError("max_references must not be smaller than min_references")
        if self.encryption_keys is not None and self.encryption_key_file is not None:
            raise ValueError("encryption_keys and encryption_key_file are both set; keys come from one place")
        names = [key.name for key in self.api_keys]
        if len(set(names)) != len(names):
            raise ValueError("two api_keys have the same name")
        return self

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

    def refuse_unkeyed(self) -> None:
        """Raise StartRefused when the service could be reached from elsewhere and no encryption key is configured."""
        if self.encryption_keys is None and self.encryption_key_file is None and not self.loopback:
            raise StartRefused(
                f"COUNTERSIGN_HOST={self.host} is not a loopback address and no encryption key is configured. "
                "Make one with `python -m app encryption new-key --file FILE` and set "
                "COUNTERSIGN_ENCRYPTION_KEY_FILE to it."
            )


def load_settings() -> Settings:
    """Read the settings from the environment; raise StartRefused with one line on what is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        faults = (
            f"{'COUNTERSIGN_' + str(fault['loc'][0]).upper() if fault['loc'] else 'settings'}: "
            f"{fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise StartRefused("; ".join(faults)) from None
