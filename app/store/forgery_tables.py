"""The tables of templates of questioned signatures, and of known forgeries."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables import KEY_ID_LENGTH, NAME_LENGTH, UUID_LENGTH, Base, UtcDateTime


class QuestionedTemplateRow(Base):
    """The embedding of a questioned signature by one model, encrypted.

    It is deleted after the configured retention period, unless the signature is a known forgery, and together with
    the signer whose signature it was claimed to be.
    """

    __tablename__ = "questioned_templates"

    verification_id: Mapped[str] = mapped_column(
        ForeignKey("verifications.verification_id", ondelete="CASCADE"), primary_key=True
    )
    model_version: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    signer_key: Mapped[str] = mapped_column(ForeignKey("signers.key", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    key_id: Mapped[str] = mapped_column(String(KEY_ID_LENGTH))
    vector: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (
        Index("ix_questioned_templates_created", "created_at"),
        Index("ix_questioned_templates_key", "key_id"),
        Index("ix_questioned_templates_signer", "signer_key"),
    )


class KnownForgeryRow(Base):
    """A questioned signature that was found to be forged; later ones of the signer are compared with it."""

    __tablename__ = "known_forgeries"

    verification_id: Mapped[str] = mapped_column(
        ForeignKey("verifications.verification_id", ondelete="CASCADE"), primary_key=True
    )
    signer_key: Mapped[str] = mapped_column(
        String(UUID_LENGTH), ForeignKey("signers.key", ondelete="CASCADE")
    )
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_known_forgeries_signer", "signer_key", "verification_id"),)
