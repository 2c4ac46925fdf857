"""The tables of accounts, their versions, and the decisions on their documents."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables import BYTEWISE, NAME_LENGTH, UUID_LENGTH, Base, UtcDateTime


class AccountRow(Base):
    """An account, with the number of its latest version."""

    __tablename__ = "accounts"

    key: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH))
    account_id: Mapped[str] = mapped_column(BYTEWISE)
    version: Mapped[int] = mapped_column(Integer)

    __table_args__ = (UniqueConstraint("tenant_id", "account_id", name="uq_accounts_tenant_account"),)


class AccountVersionRow(Base):
    """A version of an account, which is never changed."""

    __tablename__ = "account_versions"

    version_id: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    account_key: Mapped[str] = mapped_column(ForeignKey("accounts.key", ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    effective_from: Mapped[date | None] = mapped_column(Date)
    mandate: Mapped[dict[str, Any]] = mapped_column(JSON)

    __table_args__ = (UniqueConstraint("account_key", "version", name="uq_account_versions_version"),)


class SignatoryRow(Base):
    """The signer to whom a signer id in a version refers; without a key, this signer has been erased."""

    __tablename__ = "signatories"

    version_id: Mapped[str] = mapped_column(
        ForeignKey("account_versions.version_id", ondelete="CASCADE"), primary_key=True
    )
    signer_id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    signer_key: Mapped[str | None] = mapped_column(ForeignKey("signers.key", ondelete="SET NULL"))

    __table_args__ = (Index("ix_signatories_signer", "signer_key"),)


class AccountVerificationRow(Base):
    """A decision on a document, without images or templates. It is kept when its account or a signer is deleted."""

    __tablename__ = "account_verifications"

    account_verification_id: Mapped[str] = mapped_column(String(UUID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH))
    account_id: Mapped[str] = mapped_column(String(NAME_LENGTH))
    version: Mapped[int] = mapped_column(Integer)
    version_id: Mapped[str] = mapped_column(String(UUID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    signed_on: Mapped[date] = mapped_column(Date)
    amount: Mapped[str] = mapped_column(String(32))
    currency: Mapped[str | None] = mapped_column(String(3))
    decision: Mapped[str] = mapped_column(String(16))
    model_version: Mapped[str] = mapped_column(String(NAME_LENGTH))
    basis: Mapped[dict[str, Any]] = mapped_column(JSON)
    outcome: Mapped[str | None] = mapped_column(String(16))
    outcome_note: Mapped[str | None] = mapped_column(Text)
    outcome_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index(
            "ix_account_verifications_tenant_account", "tenant_id", "account_id", "account_verification_id"
        ),
    )


class RetrySignerRow(Base):
    """One of several signers whom a stored answer concerns; the erasure of any of them deletes the answer."""

    __tablename__ = "idempotency_signers"

    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(255), primary_key=True)
    signer_id: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)

    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "idempotency_key"],
            ["idempotency.tenant_id", "idempotency.idempotency_key"],
            name="fk_idempotency_signers_answer",
            ondelete="CASCADE",
        ),
        Index("ix_idempotency_signers_signer", "tenant_id", "signer_id"),
    )
