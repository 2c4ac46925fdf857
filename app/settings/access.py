"""Settings of access: API keys, the limits on them, the sessions of clerks, and the keys of the audit chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from app.domain.api_keys import Key, bootstrap_key
from app.domain.audit_chain import ChainKeys
from app.domain.callers import DEFAULT_TENANT
from app.domain.errors import InvalidSettings
from app.domain.rates import parse_limit
from app.domain.validation import NAME_PATTERN
from app.settings.base import EMPTY_IS_NONE, Options


class AccessOptions(Options):
    """Who may call the service, and what proves later who did."""

    # Callers
    bootstrap_key: Annotated[SecretStr | None, EMPTY_IS_NONE] = Field(
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
    desk_session_s: int = Field(
        default=1800,
        ge=10,
        le=86_400,
        description="Seconds without a request after which the session of a clerk at /desk ends.",
    )

    # The audit
    audit_key: Annotated[SecretStr | None, EMPTY_IS_NONE] = Field(
        default=None,
        description="Secret of the HMAC of the audit chain, 32 characters or more: an attacker with write access to "
        "the database cannot rebuild the chain without it. `python -m app audit new-key` makes one. "
        "Comma-separated: the first one is in use, the others are old ones that still verify.",
    )
    audit_key_file: Annotated[Path | None, EMPTY_IS_NONE] = Field(
        default=None, description="A file with the secrets of `audit_key`, one per line, instead of it."
    )

    @field_validator("bootstrap_key")
    @classmethod
    def _is_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            bootstrap_key(value.get_secret_value(), DEFAULT_TENANT)
        return value

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

    @model_validator(mode="after")
    def _check_audit_key(self) -> Self:
        if self.audit_key is not None and self.audit_key_file is not None:
            raise ValueError("audit_key and audit_key_file are both set; set one of them")
        return self

    @property
    def key(self) -> Key | None:
        """The API key of the settings."""
        if self.bootstrap_key is None:
            return None
        return bootstrap_key(self.bootstrap_key.get_secret_value(), self.operator_tenant)

    def chain_keys(self) -> ChainKeys:
        """Return the secrets of the audit chain. Raises InvalidSettings when they cannot be read or are too short."""
        try:
            if self.audit_key_file is not None:
                return ChainKeys.parse(self.audit_key_file.read_text(encoding="utf-8-sig"))
            return ChainKeys.parse(self.audit_key.get_secret_value() if self.audit_key else "")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSettings(f"COUNTERSIGN_AUDIT_KEY_FILE cannot be read: {error}.") from error
        except ValueError as error:
            raise InvalidSettings(f"COUNTERSIGN_AUDIT_KEY: {error}") from error
