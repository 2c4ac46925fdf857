"""The table of cases."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Float, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables import NAME_LENGTH, Base, UtcDateTime


class CaseRow(Base):
    """A verification that a clerk has to decide: its claim, and the decision. It holds no image and no template.

    A claim whose `claimed_until` has passed has no effect. The tenant is copied from the verification, so that the
    queue of a tenant is one range of the index. `amount` is text of a fixed width, `000000000002500.5000`, so that it
    is exact and in the order of numbers; it is empty where there is none.
    """

    __tablename__ = "cases"

    verification_id: Mapped[str] = mapped_column(
        ForeignKey("verifications.verification_id", ondelete="CASCADE"), primary_key=True
    )
    tenant_id: Mapped[str] = mapped_column(String(NAME_LENGTH))
    state: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(16))
    amount: Mapped[str] = mapped_column(String(20))
    currency: Mapped[str | None] = mapped_column(String(3))
    claimed_by: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    claim_key_id: Mapped[str | None] = mapped_column(String(255))
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decision: Mapped[str | None] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(32))
    note: Mapped[str | None] = mapped_column(Text)
    decided_by: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    seconds: Mapped[float | None] = mapped_column(Float)

    __table_args__ = (
        Index("ix_cases_tenant_state", "tenant_id", "state", "verification_id"),
        Index("ix_cases_tenant_amount", "tenant_id", "state", "amount", "verification_id"),
        Index("ix_cases_tenant_decided", "tenant_id", "decided_at"),
    )
