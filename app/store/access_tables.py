"""The tables of API keys and of the audit. The migration also creates triggers that protect the audit."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables import DIGEST_LENGTH, NAME_LENGTH, UUID_LENGTH, Base, UtcDateTime


class KeyRow(Base):
    """An API key. The key itself is not stored, only its SHA-256."""

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH))
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    sha256: Mapped[str] = mapped_column(String(DIGEST_LENGTH), unique=True)
    scopes: Mapped[list[Any]] = mapped_column(JSON)
    rate_limit: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index(
            "uq_api_keys_live_name",
            "tenant_id",
            "name",
            unique=True,
            sqlite_where=text("revoked_at IS NULL"),
            postgresql_where=text("revoked_at IS NULL"),
        ),
    )


class AuditHeadRow(Base):
    """The head of a tenant's audit chain. Its row lock serializes the appends of all replicas."""

    __tablename__ = "audit_heads"

    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(DIGEST_LENGTH))


class AuditRow(Base):
    """An entry of a tenant's audit chain; see `app.domain.audit_chain.Entry`."""

    __tablename__ = "audit"

    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[str] = mapped_column(String(32))
    action: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(NAME_LENGTH))
    key_id: Mapped[str | None] = mapped_column(String(255))
    request_id: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(String(UUID_LENGTH))
    record_id: Mapped[str | None] = mapped_column(String(UUID_LENGTH))
    details: Mapped[str] = mapped_column(Text)
    sealed_with: Mapped[str | None] = mapped_column(String(16))
    previous: Mapped[str] = mapped_column(String(DIGEST_LENGTH))
    hash: Mapped[str] = mapped_column(String(DIGEST_LENGTH))

    __table_args__ = (
        Index("ix_audit_tenant_subject", "tenant_id", "subject", "sequence"),
        Index("ix_audit_tenant_record", "tenant_id", "record_id"),
    )
