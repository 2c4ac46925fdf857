"""The tables. Portable types only: the same definitions serve SQLite and PostgreSQL.

`data`, `vector` and `sealed` hold ciphertexts (`app.store.encryption.cipher`); `key_id` beside them says under which
key. Where it is empty, the value was stored before values were encrypted, and the next start encrypts it.

A signer has a key of ours beside the caller's id, so that what outlives an erasure (`changes`) names nobody.
Images and templates stand in tables of their own: listings and the index never page through image bytes, and a
reference can have templates of two models while a new one moves in.
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
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

UUID_LENGTH = 36
DIGEST_LENGTH = 64
KEY_ID_LENGTH = 64
NAME_LENGTH = 128
REGION_LENGTH = 64
BYTEWISE = String(NAME_LENGTH).with_variant(String(NAME_LENGTH, collation="C"), "postgresql")
"""Text in the order of its bytes, whatever the database's own language is."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, aware on the way in and on the way out; SQLite itself forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse what has no zone; hand over UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Attach the zone again."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The registry of all tables."""


class TenantRow(Base):
    """A tenant's counter: every change to its templates raises it, in the transaction of the change."""

    __tablename__ = "tenants"

    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, default=0)


class ChangeRow(Base):
    """The counter's value when a signer last changed; stays when the signer is gone, so that indexes notice."""

    __tablename__ = "changes"

    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    signer_key: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_changes_tenant_sequence", "tenant_id", "sequence"),)


class SignerRow(Base):
    """A person who is enrolled, and the policy that is theirs alone."""

    __tablename__ = "signers"

    key: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH))
    signer_id: Mapped[str] = mapped_column(BYTEWISE)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    target_far: Mapped[float | None] = mapped_column(Float)
    fixed_threshold: Mapped[float | None] = mapped_column(Float)

    __table_args__ = (UniqueConstraint("tenant_id", "signer_id", name="uq_signers_tenant_signer"),)


class ReferenceRow(Base):
    """A genuine specimen: what is known of it."""

    __tablename__ = "references"

    reference_id: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    signer_key: Mapped[str] = mapped_column(ForeignKey("signers.key", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sha256: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    media_type: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(Integer)
    page: Mapped[int] = mapped_column(Integer)
    region: Mapped[str] = mapped_column(String(REGION_LENGTH), server_default="whole")
    quality: Mapped[dict[str, Any]] = mapped_column(JSON)
    warnings: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    model_version: Mapped[str] = mapped_column(String(NAME_LENGTH))

    __table_args__ = (
        UniqueConstraint("signer_key", "sha256", "page", "region", name="uq_references_signer_region"),
    )


class ImageRow(Base):
    """The bytes of a reference, as uploaded; sealed."""

    __tablename__ = "reference_images"

    reference_id: Mapped[str] = mapped_column(
        ForeignKey("references.reference_id", ondelete="CASCADE"), primary_key=True
    )
    data: Mapped[bytes] = mapped_column(LargeBinary)
    key_id: Mapped[str | None] = mapped_column(String(KEY_ID_LENGTH))

    __table_args__ = (Index("ix_reference_images_key", "key_id"),)


class TemplateRow(Base):
    """The embedding of a reference by one model: (dimension,) float32, little-endian; sealed."""

    __tablename__ = "templates"

    reference_id: Mapped[str] = mapped_column(
        ForeignKey("references.reference_id", ondelete="CASCADE"), primary_key=True
    )
    model_version: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    key_id: Mapped[str | None] = mapped_column(String(KEY_ID_LENGTH))

    __table_args__ = (Index("ix_templates_key", "key_id"),)


class VerificationRow(Base):
    """A verification on record; outlives its signer, holds no image and no template."""

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
        Index("ix_verifications_tenant_signer", "tenant_id", "signer_id", "verification_id"),
    )


class QuestionedRow(Base):
    """The image of a questioned signature, for as long as the service is set to keep it; sealed."""

    __tablename__ = "questioned_images"

    verification_id: Mapped[str] = mapped_column(
        ForeignKey("verifications.verification_id", ondelete="CASCADE"), primary_key=True
    )
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    media_type: Mapped[str] = mapped_column(String(64))
    key_id: Mapped[str] = mapped_column(String(KEY_ID_LENGTH))
    data: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (
        Index("ix_questioned_images_created", "created_at"),
        Index("ix_questioned_images_key", "key_id"),
    )


class RetryRow(Base):
    """What was answered to a request that carried an Idempotency-Key, for its repetition; sealed.

    Without `sealed` and `answer` the request is being worked on, in the transaction that holds the row, or what it
    told of has been erased since. `answer` is what was stored before answers were sealed.
    """

    __tablename__ = "idempotency"

    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    signer_id: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    key_id: Mapped[str | None] = mapped_column(String(KEY_ID_LENGTH))
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (
        Index("ix_idempotency_created", "created_at"),
        Index("ix_idempotency_signer", "tenant_id", "signer_id"),
        Index("ix_idempotency_key", "key_id"),
    )


class TombstoneRow(Base):
    """A tombstone: a keyed digest of the internal key of what was erased (`app.store.erasure.tombstones`)."""

    __tablename__ = "tombstones"

    digest: Mapped[str] = mapped_column(String(DIGEST_LENGTH), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    key_id: Mapped[str] = mapped_column(String(KEY_ID_LENGTH))
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ProbeRow(Base):
    """A row that is written to see whether the database can be written (`app.store.health`)."""

    __tablename__ = "probes"

    probe_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    written_at: Mapped[datetime] = mapped_column(UtcDateTime)
    filler: Mapped[bytes] = mapped_column(LargeBinary)
