"""The table of proposed references that were declined."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables import Base, UtcDateTime


class DeclinedProposalRow(Base):
    """A verification whose questioned signature a person does not want as a reference."""

    __tablename__ = "declined_proposals"

    verification_id: Mapped[str] = mapped_column(
        ForeignKey("verifications.verification_id", ondelete="CASCADE"), primary_key=True
    )
    declined_at: Mapped[datetime] = mapped_column(UtcDateTime)
