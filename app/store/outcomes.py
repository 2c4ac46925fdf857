"""Counts of recorded outcomes, from which the live error rates are estimated."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.store.tables import VerificationRow


def counts(session: Session, model_version: str, since: datetime) -> dict[tuple[str, str], int]:
    """Count the verifications of all tenants by (outcome, decision).

    Parameters
    ----------
    model_version : str
        Only verifications by this model are counted.
    since : datetime
        Only outcomes recorded at or after this time are counted.
    """
    rows = session.execute(
        select(VerificationRow.outcome, VerificationRow.decision, func.count())
        .where(
            VerificationRow.outcome.is_not(None),
            VerificationRow.outcome_at >= since,
            VerificationRow.model_version == model_version,
        )
        .group_by(VerificationRow.outcome, VerificationRow.decision)
    )
    return {(str(outcome), decision): count for outcome, decision, count in rows}
