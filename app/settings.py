"""All settings of the service.

Each setting is read from the environment with the prefix ``COUNTERSIGN_`` (``COUNTERSIGN_PORT=9000``), then from a
file ``.env`` in the working directory, then from a file of that name in lower case in ``/run/secrets`` (where
containers find their secrets: ``/run/secrets/countersign_database_url``), then from the default below. `python -m app
config` prints them all. Unknown variables with the prefix and contradictory settings are refused at start.
"""

from __future__ import annotations

import difflib
import ipaddress
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.cpu import usable_cores
from app.domain.amounts import RateBand, parse_bands
from app.domain.api_keys import Key, bootstrap_key
from app.domain.audit_chain import ChainKeys
from app.domain.callers import DEFAULT_TENANT
from app.domain.errors import StartRefused
from app.domain.rates import parse_limit
from app.domain.validation import CURRENCY_PATTERN, NAME_PATTERN, describe_fault

ROOT = Path(__file__).resolve().parent.parent
RELEASED_WEIGHTS = ROOT / "weights" / "countersign-6"
"""Default weights; their terms are ``research``."""
PAGE_NETWORK = ROOT / "weights" / "page-2" / "model.onnx"
"""The segmentation network that finds signatures on pages; its terms are ``research``."""
PERMISSIVE_PAGE_NETWORK = ROOT / "weights" / "page-1-free" / "model.onnx"
"""The segmentation network when `allowed_terms` is ``permissive``."""
PERMISSIVE_WEIGHTS = ROOT / "weights" / "countersign-5-free"
"""Default weights when `allowed_terms` is ``permissive``."""
SECRETS = Path("/run/secrets")

PREFIX = "COUNTERSIGN_"
FORMER_NAMES = {"max_bytes_in_hand": "max_inflight_bytes"}
"""Settings that were renamed; the former names still work and log a warning."""

_log = logging.getLogger("countersign.settings")


class Settings(BaseSettings):
    """Settings of one service process."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        extra="ignore",
        frozen=True,
        validate_default=True,
    )

    # Network
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

    # Callers
    bootstrap_key: SecretStr | None = Field(
        default=None,
        description="Text of an API key of `operator_tenant` with the scope admin, valid as long as it is set: a "
        "service can start on the network before `python -m app keys create` has made the other keys, which are in "
        "the store. `python -m app keys generate` makes it. Without any key, the service serves this machine only.",
    )
    key_refresh_s: float = Field(
        default=2.0, gt=0, le=60, description="Seconds after which a revoked key is refused."
    )
    local_names: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated names of this machine that the Host header may have while no key exists; "
        "localhost and loopback addresses are always allowed.",
    )
    operator_tenant: str = Field(
        default=DEFAULT_TENANT,
        pattern=NAME_PATTERN,
        description="The tenant whose keys may read /metrics, which count the requests of all tenants.",
    )
    rate_limit: str = Field(
        default="6000/minute",
        description="Requests that one key may send to one process, such as 60/minute; `keys create --rate-limit` "
        "sets another limit for a key. Empty: no limit.",
    )
    failed_key_limit: str = Field(
        default="30/minute",
        description="Invalid keys that one address may send before it gets a 429 instead of a 401. Empty: no "
        "limit.",
    )

    # The audit
    audit_key: SecretStr | None = Field(
        default=None,
        description="Secret of the HMAC of the audit chain, 32 characters or more: an attacker with write access to "
        "the database cannot rebuild the chain without it. `python -m app audit new-key` makes one. "
        "Comma-separated: the first one is in use, the others are old ones that still verify.",
    )
    audit_key_file: Path | None = Field(
        default=None, description="A file with the secrets of `audit_key`, one per line, instead of it."
    )
    audit_anchor_s: float = Field(
        default=300.0,
        gt=0,
        description="Seconds between log lines with the head of each audit chain that has grown. Stored on another "
        "machine, they prove later that no entries were cut off.",
    )

    # The model
    weights: Path = Field(
        default=RELEASED_WEIGHTS,
        description="Folder of the weights, their card and their calibration. When it is not set and "
        "`allowed_terms` is permissive, the released weights with permissive terms are used.",
    )
    allowed_terms: Literal["any", "permissive"] = Field(
        default="any",
        description="permissive: weights that were trained or calibrated on data with research terms are refused at "
        "start. any: all terms are accepted, and the start logs them.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Device that the network runs on; auto: CUDA if available."
    )
    precision: Literal["auto", "float32"] = Field(
        default="auto",
        description="Precision of the network. auto: half precision on CUDA, 8-bit integers on CPUs that have "
        "instructions for them; float32 where either changes a distance between test images by more than 0.5 %.",
    )
    batch_size: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="Maximum number of signatures in one batch; 0: 32 on CUDA and 8 on the CPU, where larger batches "
        "take more memory and are not faster.",
    )
    queue_size: int = Field(
        default=256,
        ge=1,
        description="Maximum number of signatures that wait for the network; further requests get a 503.",
    )
    inference: str = Field(
        default="local",
        pattern=r"^(local|ray://[^\s,/@]+:\d+(,[^\s,/@]+:\d+)*)$",
        description="Where the network runs: local, in this process; or ray://HOST:PORT, in the Ray Serve deployment "
        "that `python -m app inference deploy` starts, with the addresses of its HTTP proxies, comma-separated. "
        "Needs the extra `remote`.",
    )
    network_threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Threads of the network on the CPU; 0: half the cores, the others are for decoding.",
    )
    reading_processes: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Worker processes that decode images and isolate ink, about 50 MB each; 0: one for each core "
        "that the network does not use, at most 8.",
    )
    reader_memory_mb: int = Field(
        default=2048,
        ge=0,
        description="MiB of memory that one worker process may allocate; an image that needs more is refused with "
        "`too-expensive`. Decoding takes about 9 bytes per pixel. 0: no limit.",
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

    # The decision
    target_far: float = Field(
        default=0.10,
        gt=0,
        lt=1,
        description="Share of skilled forgeries that may be accepted: it sets the threshold of `accept`. "
        "Can be set for each signer.",
    )
    review_far: float | None = Field(
        default=0.30,
        gt=0,
        lt=1,
        description="A larger share, up to whose threshold the decision is `review` instead of `reject`; "
        "empty: no review.",
    )
    target_far_bands: str = Field(
        default="",
        description="`target_far` by the amount that `/verify` is sent, such as 10000:0.1,50000:0.05,above:0.02: "
        "0.1 up to 10000, and so on; the last band applies without an amount. A signer's own `target_far` applies "
        "where it is lower, and a signer's `fixed_threshold` instead of all. Empty: `target_far` for all amounts. "
        "Accounts have bands of their own.",
    )
    bands_currency: str | None = Field(
        default=None,
        pattern=CURRENCY_PATTERN,
        description="Currency of `target_far_bands`, ISO 4217: an amount in another one is refused with "
        "`currency-mismatch`. Empty: amounts are compared as numbers.",
    )
    fixed_threshold: float | None = Field(
        default=None,
        gt=0,
        description="A distance up to which signatures are accepted, for all signers, instead of `target_far`, at "
        "most `calibration.largest_threshold` of `/model`. Its error rates depend on the signer; the answers state "
        "them.",
    )
    min_references: int = Field(
        default=1,
        ge=1,
        le=50,
        description="Minimum number of references that a signer needs for verification.",
    )
    max_references: int = Field(
        default=50, ge=1, le=1000, description="Maximum number of references of one signer."
    )

    # The review desk
    case_claim_s: int = Field(
        default=600,
        ge=10,
        le=86_400,
        description="Seconds for which a clerk's claim keeps a case from other clerks, unless it is renewed.",
    )
    case_undo_s: int = Field(
        default=10,
        ge=0,
        le=3600,
        description="Seconds within which a clerk may take back a decision on a case; 0: never.",
    )
    quality_control_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the decisions accept and reject that are drawn for a clerk to look at as well, for "
        "quality control; the answer is not changed by it.",
    )
    desk_session_s: int = Field(
        default=1800,
        ge=10,
        le=86_400,
        description="Seconds without a request after which the session of a clerk at /desk ends.",
    )

    # The store
    database_url: str = Field(
        default="sqlite:///var/countersign.sqlite3",
        description="SQLAlchemy URL of the store. SQLite needs nothing else; its file is created at the first start.",
    )
    store_threads: int = Field(
        default=8, ge=1, le=64, description="Connections to the store, each on its own thread."
    )

    # Identification
    exhaustive_signers: int = Field(
        default=10_000,
        ge=0,
        description="Number of signers of a tenant up to which identification compares all of them. Beyond it, an "
        "index proposes candidates (extra `index`). Comparing all takes about 55 KB of memory for each signer.",
    )
    candidate_index: Literal["memory", "pgvector"] = Field(
        default="memory",
        description="Where identification among many signers looks for candidates. memory: in the memory of the "
        "process, nothing is stored in clear text. pgvector: in PostgreSQL with the extension pgvector, which holds "
        "one reduced vector of each signer in clear text; for more signers than fit in the memory of a process.",
    )
    index_files: Literal["encrypted", "none"] = Field(
        default="encrypted",
        description="encrypted: the index of a tenant with many signers is kept in an encrypted file beside the "
        "SQLite file, so that a restart need not build it again. none: it exists in memory only, as it always does "
        "with other databases.",
    )

    # Encryption, erasure and retention
    encryption_keys: SecretStr | None = Field(
        default=None,
        description="Keys that encrypt images, templates and kept answers: comma-separated, each ID:BASE64 of 32 "
        "bytes. The last one encrypts, the others still decrypt. `python -m app encryption new-key` makes one.",
    )
    encryption_key_file: Path | None = Field(
        default=None,
        description="A file with such keys, one per line, instead; read again when it changes. With neither set, "
        "on a loopback address and SQLite, a file beside the store is created at the first start.",
    )
    encryption_key_id: str | None = Field(
        default=None,
        description="Id of the key that encrypts, if not the last one: all replicas can get a new key before the "
        "first one encrypts with it.",
    )
    erasure_log: Path | None = Field(
        default=None,
        description="File that repeats the tombstones, so that erased data are erased again after a backup has been "
        "restored: keep it apart from the backups, on a disk that all replicas share. Empty: beside the SQLite "
        "file; none for other databases.",
    )
    add_confirmed_references: bool = Field(
        default=False,
        description="Enrol a questioned signature as a reference when it was accepted without a warning and its case "
        "is recorded as genuine; its image must be kept. Without it, a person accepts the proposals.",
    )
    keep_questioned_days: float = Field(
        default=0.0,
        ge=0,
        le=36_500,
        description="Days for which images of questioned signatures are kept, encrypted; 0: not kept.",
    )
    keep_questioned_templates_days: float = Field(
        default=60.0,
        ge=0,
        le=36_500,
        description="Days for which templates of questioned signatures are kept, encrypted, so that one that turns "
        "out to be forged can be remembered; 0: not kept, and a forgery can be remembered only if its image is kept.",
    )
    keep_forged_days: float | None = Field(
        default=None,
        ge=0,
        le=36_500,
        description="Days for which images of known forgeries are kept, instead of "
        "COUNTERSIGN_KEEP_QUESTIONED_DAYS; a new model needs them.",
    )
    keep_answers_hours: float = Field(
        default=168.0,
        gt=0,
        le=87_600,
        description="Hours for which an Idempotency-Key and its answer are kept.",
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

    # Logs, metrics and traces
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged."
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="One JSON object per line, or plain text."
    )
    drift_window: int = Field(
        default=1000,
        ge=100,
        le=1_000_000,
        description="Number of latest verifications whose distances the drift metrics compare with the calibration.",
    )
    outcome_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="Days of recorded outcomes from which the live FAR and FRR are computed.",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Base address of an OpenTelemetry collector (OTLP over HTTP), such as http://collector:4318; "
        "empty: no traces. Needs the extra `tracing`.",
    )
    trace_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of requests that are traced when the caller has not decided.",
    )

    @model_validator(mode="before")
    @classmethod
    def _strip_line_ends(cls, values: dict[str, object]) -> dict[str, object]:
        """Remove a byte order mark and carriage returns, which Windows editors add."""
        return {
            name: value.lstrip("\ufeff").rstrip("\r\n") if isinstance(value, str) else value
            for name, value in values.items()
        }

    @model_validator(mode="before")
    @classmethod
    def _choose_weights(cls, values: dict[str, object]) -> dict[str, object]:
        if values.get("allowed_terms") == "permissive":
            return {"weights": PERMISSIVE_WEIGHTS} | values
        return values

    @field_validator("bootstrap_key")
    @classmethod
    def _is_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            bootstrap_key(value.get_secret_value(), DEFAULT_TENANT)
        return value

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

    @field_validator("local_names", mode="before")
    @classmethod
    def _parse_names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator("rate_limit", "failed_key_limit")
    @classmethod
    def _is_rate(cls, value: str) -> str:
        parse_limit(value)
        return value

    @field_validator("target_far_bands")
    @classmethod
    def _are_bands(cls, value: str) -> str:
        parse_bands(value)
        return value

    @field_validator(
        "bootstrap_key",
        "review_far",
        "bands_currency",
        "fixed_threshold",
        "otlp_endpoint",
        "audit_key",
        "audit_key_file",
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
        self._check_bands()
        if self.max_references < self.min_references:
            raise ValueError("max_references must not be smaller than min_references")
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
        if self.encryption_keys is not None and self.encryption_key_file is not None:
            raise ValueError("encryption_keys and encryption_key_file are both set; set one of them")
        if self.audit_key is not None and self.audit_key_file is not None:
            raise ValueError("audit_key and audit_key_file are both set; set one of them")
        if self.candidate_index == "pgvector" and not self.database_url.startswith("postgres"):
            raise ValueError("candidate_index=pgvector needs a PostgreSQL database_url")
        return self

    def _check_bands(self) -> None:
        bands = self.rate_bands
        if self.bands_currency is not None and not bands:
            raise ValueError("bands_currency is set without target_far_bands")
        if bands and self.fixed_threshold is not None:
            raise ValueError("target_far_bands and fixed_threshold are both set; set one of them")
        if bands and self.review_far is not None and self.review_far <= bands[0].target_far:
            raise ValueError("review_far must be larger than the shares of target_far_bands, or empty")

    @property
    def workers(self) -> tuple[int, int]:
        """Number of worker processes that decode images, and of threads of the network.

        Batches run one after the other, each on half the cores. Decoding has the other half, which it shares with the
        event loop and the store.
        """
        cores = usable_cores()
        network = self.network_threads or max(1, cores // 2)
        return self.reading_processes or min(8, max(1, cores - network)), network

    def batch(self, device: Literal["cpu", "cuda"]) -> int:
        """Maximum number of signatures in one batch on this device."""
        return self.batch_size or (32 if device == "cuda" else 8)

    @property
    def rate_bands(self) -> tuple[RateBand, ...]:
        """`target_far_bands` as records."""
        return parse_bands(self.target_far_bands)

    @property
    def inference_addresses(self) -> tuple[str, ...]:
        """``HOST:PORT`` of the proxies of the Ray Serve deployment; empty when the network runs in this process."""
        if self.inference == "local":
            return ()
        return tuple(self.inference.removeprefix("ray://").split(","))

    @property
    def page_network(self) -> Path:
        """The segmentation network that `allowed_terms` permits."""
        return PERMISSIVE_PAGE_NETWORK if self.allowed_terms == "permissive" else PAGE_NETWORK

    @property
    def key(self) -> Key | None:
        """The API key of the settings."""
        if self.bootstrap_key is None:
            return None
        return bootstrap_key(self.bootstrap_key.get_secret_value(), self.operator_tenant)

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
        """Raise StartRefused when the network could call the service without a key.

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
            raise StartRefused(
                f"COUNTERSIGN_HOST={self.host} is not a loopback address and there is no valid API key: anyone "
                f"could enrol and verify. {remedy}, or listen on 127.0.0.1."
            )
        if self.root_path or self.trusted_proxies:
            raise StartRefused(
                "COUNTERSIGN_ROOT_PATH or COUNTERSIGN_TRUSTED_PROXIES names a proxy and there is no valid API key: "
                f"behind a proxy, all requests seem to come from this machine. {remedy}, or leave them empty."
            )

    def chain_keys(self) -> ChainKeys:
        """Return the secrets of the audit chain. Raises StartRefused when they cannot be read or are too short."""
        try:
            if self.audit_key_file is not None:
                return ChainKeys.parse(self.audit_key_file.read_text(encoding="utf-8-sig"))
            return ChainKeys.parse(self.audit_key.get_secret_value() if self.audit_key else "")
        except (OSError, UnicodeDecodeError) as error:
            raise StartRefused(f"COUNTERSIGN_AUDIT_KEY_FILE cannot be read: {error}.") from error
        except ValueError as error:
            raise StartRefused(f"COUNTERSIGN_AUDIT_KEY: {error}") from error

    def refuse_missing_encryption_key(self) -> None:
        """Raise StartRefused when other machines can reach the service and no encryption key is configured."""
        if self.encryption_keys is None and self.encryption_key_file is None and not self.loopback:
            raise StartRefused(
                f"COUNTERSIGN_HOST={self.host} is not a loopback address and no encryption key is configured. "
                "Make one with `python -m app encryption new-key --file FILE` and set "
                "COUNTERSIGN_ENCRYPTION_KEY_FILE to it."
            )


def load_settings() -> Settings:
    """Read the settings from the environment. Raises StartRefused, with one line that says what is wrong."""
    variables = {name.upper(): value for name, value in (dotenv_values(".env") | dict(os.environ)).items()}
    refuse_unknown(variables)
    try:
        return Settings(**_renamed(variables))
    except ValidationError as error:
        faults = (
            f"{PREFIX + str(fault['loc'][0]).upper() if fault['loc'] else 'settings'}: "
            f"{describe_fault(fault)}"
            for fault in error.errors()
        )
        raise StartRefused("; ".join(faults)) from None


def _renamed(variables: Mapping[str, str | None]) -> dict[str, Any]:
    """Settings that were given under a former name, which is logged as a warning."""
    found: dict[str, Any] = {}
    for former, name in FORMER_NAMES.items():
        value = variables.get(PREFIX + former.upper())
        if value is not None and PREFIX + name.upper() not in variables:
            _log.warning("%s%s is now %s%s", PREFIX, former.upper(), PREFIX, name.upper())
            found[name] = value
    return found


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise StartRefused when a variable has the prefix and is not a setting: it was probably misspelt."""
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, *FORMER_NAMES)}
    unknown = sorted({n for n in names if n.upper().startswith(PREFIX) and n.upper() not in known})
    if not unknown:
        return
    faults = []
    for name in unknown:
        near = difflib.get_close_matches(name.upper(), known, 1, 0.8)
        faults.append(f"{name} is not a setting" + (f" (did you mean {near[0]}?)" if near else ""))
    raise StartRefused(
        f"{'; '.join(faults)}. Remove or correct it; `python -m app config` lists the settings. (Kubernetes sets "
        "such variables for a Service named countersign: set enableServiceLinks to false.)"
    )
