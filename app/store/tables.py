"""The database schema, in types that SQLite and PostgreSQL both support.

The columns `data`, `vector` and `sealed` contain ciphertexts (`app.store.encryption.cipher`); `key_id` is the id of
their key.

Every signer has an internal key (random UUID) in addition to the id that the caller chose, so that rows which are
kept after an erasure (`changes`) do not identify anyone. Images and templates have their own tables: listings and the
template index do not read image bytes, and a reference can have templates of two models during a migration.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

UUID_LENGTH = 36
DIGEST_LENGTH = 64
KEY_ID_LENGTH = 64
NAME_LENGTH = 128
REGION_LENGTH = 64
BYTEWISE = String(NAME_LENGTH).with_variant(String(NAME_LENGTH, collation="C"), "postgresql")
"""Text that is ordered by its bytes, regardless of the collation of the database."""


class UtcDateTime(TypeDecorator[datetime]):
    """A time-zone-aware datetime in UTC. SQLite does not store time zones, so it gets naive values."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a value to UTC. Raises ValueError if it is naive."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone cannot be stored")
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return a stored value with the time zone UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Declarative base of all tables."""


class TenantRow(Base):
    """The change counter of a tenant (`app.store.change_counters`)."""

    __tablename__ = "tenants"

    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, default=0)


class ChangeRow(Base):
    """The counter's value when a signer last changed; kept after an erasure, so that template indexes see it."""

    __tablename__ = "changes"

    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    signer_key: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_changes_tenant_sequence", "tenant_id", "sequence"),)


class SignerRow(Base):
    """An enrolled signer, with the signer's own decision policy."""

    __tablename__ = "signers"

    key: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH))
    signer_id: Mapped[str] = mapped_column(BYTEWISE)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    target_far: Mapped[float | None] = mapped_column(Float)
    fixed_threshold: Mapped[float | None] = mapped_column(Float)

    __table_args__ = (UniqueConstraint("tenant_id", "signer_id", name="uq_signers_tenant_signer"),)


class ReferenceRow(Base):
    """Metadata of a reference: a genuine signature of an enrolled signer."""

    __tablename__ = "references"

    reference_id: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    signer_key: Mapped[str] = mapped_column(ForeignKey("signers.key", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sha256: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    media_type: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(Integer)
    page: Mapped[int] = mapped_column(Integer)
    region: Mapped[str] = mapped_column(String(REGION_LENGTH))
    quality: Mapped[dict[str, Any]] = mapped_column(JSON)
    warnings: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    model_version: Mapped[str] = mapped_column(String(NAME_LENGTH))

    __table_args__ = (
        UniqueConstraint("signer_key", "sha256", "page", "region", name="uq_references_signer_region"),
    )


class ImageRow(Base):
    """The image file of a reference as uploaded, encrypted."""

    __tablename__ = "reference_images"

    reference_id: Mapped[str] = mapped_column(
        ForeignKey("references.reference_id", ondelete="CASCADE"), primary_key=True
    )
    data: Mapped[bytes] = mapped_column(LargeBinary)
    key_id: Mapped[str] = mapped_column(String(KEY_ID_LENGTH))

    __table_args__ = (Index("ix_reference_images_key", "key_id"),)


class TemplateRow(Base):
    """The embedding of a reference by one model, encrypted (format: `app.store.encryption.sealing`)."""

    __tablename__ = "templates"

    reference_id: Mapped[str] = mapped_column(
        ForeignKey("references.reference_id", ondelete="CASCADE"), primary_key=True
    )
    model_version: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    key_id: Mapped[str] = mapped_column(String(KEY_ID_LENGTH))

    __table_args__ = (Index("ix_templates_key", "key_id"),)


class VerificationRow(Base):
    """A verification. It is kept when its signer is erased, and contains no image and no template."""

    __tablename__ = "verifications"

    verification_id: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH))
    signer_id: Mapped[str] = mapped_column(String(NAME_LENGTH))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decision: Mapped[str] = mapped_column(String(16))
    distance: Mapped[float] = mapped_column(Float)
    threshold: Mapped[float] = mapped_column(Float)
    review_threshold: Mapped[float | None] = mapped_column(Float)
    log_likelihood_ratio: Mapped[float] = mapped_column(Float)
    operating_point: Mapped[dict[str, Any]] = mapped_column(JSON)
    reference_distances: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    warnings: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    model_version: Mapped[str] = mapped_column(String(NAME_LENGTH))
    questioned_sha256: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    basis: Mapped[dict[str, Any]] = mapped_column(JSON)
    outcome: Mapped[str | None] = mapped_column(String(16))
    outcome_note: Mapped[str | None] = mapped_column(Text)
    outcome_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("ix_verifications_tenant_id", "tenant_id", "verification_id"),
        Index("ix_verifications_tenant_decision", "tenant_id", "decision", "verification_id"),
        Index(
            "ix_verifications_tenant_outcome",
            "tenant_id",
            "outcome",
            "verification_id",
            sqlite_where=text("outcome IS NOT NULL"),
            postgresql_where=text("outcome IS NOT NULL"),
        ),
        Index("ix_verifications_tenant_signer", "tenant_id", "signer_id", "verification_id"),
    )


class QuestionedRow(Base):
    """The image file of a questioned signature, encrypted; deleted after the configured retention period."""

    __tablename__ = "questioned_images"

    verification_id: Mapped[str] = mapped_column(
        ForeignKey("verifications.verification_id", ondelete="CASCADE"), primary_key=True
    )
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    media_type: Mapped[str] = mapped_column(String(64))
    page: Mapped[int] = mapped_column(Integer)
    region: Mapped[str] = mapped_column(String(REGION_LENGTH))
    turned: Mapped[int] = mapped_column(Integer)
    key_id: Mapped[str] = mapped_column(String(KEY_ID_LENGTH))
    data: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (
        Index("ix_questioned_images_created", "created_at"),
        Index("ix_questioned_images_key", "key_id"),
    )


class RetryRow(Base):
    """The response to a request with an Idempotency-Key, encrypted, to be replayed when the request is repeated.

    If `sealed` is NULL, the transaction that inserted the row is not committed yet, or the signer has been erased
    since.
    """

    __tablename__ = "idempotency"

    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    signer_id: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    key_id: Mapped[str | None] = mapped_column(String(KEY_ID_LENGTH))
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (
        Index("ix_idempotency_created", "created_at"),
        Index("ix_idempotency_signer", "tenant_id", "signer_id"),
        Index("ix_idempotency_key", "key_id"),
    )


class TombstoneRow(Base):
    """A tombstone: a keyed digest of the internal key of an erased record (`app.store.erasure.tombstones`)."""

    __tablename__ = "tombstones"

    digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    key_id: Mapped[str] = mapped_column(String(KEY_ID_LENGTH))
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ProbeRow(Base):
    """A row that the health check writes to test whether the database is writable (`app.store.health`)."""

    __tablename__ = "probes"

    probe_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    written_at: Mapped[datetime] = mapped_column(UtcDateTime)
    filler: Mapped[bytes] = mapped_column(LargeBinary)
