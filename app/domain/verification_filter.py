"""Which verifications a listing contains: by decision, outcome and interval of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.domain.assignment import Decision
from app.domain.errors import MalformedRequest


@dataclass(frozen=True)
class VerificationFilter:
    """Conditions that all have to hold; None: no condition.

    Attributes
    ----------
    decision : {"accept", "review", "reject"} or None
    outcome : {"genuine", "forged", "undetermined"} or None
    created_from, created_before : datetime or None
        First time of the interval, and the first one after it; with a time zone.

    Raises
    ------
    MalformedRequest
        The interval ends before it begins. It may be empty.
    """

    decision: Decision | None = None
    outcome: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None

    def __post_init__(self) -> None:
        begin, end = self.created_from, self.created_before
        if begin is not None and end is not None and begin > end:
            raise MalformedRequest(
                f"`created_from` ({begin.isoformat()}) is later than `created_before` ({end.isoformat()}); exchange "
                "them."
            )


EVERYTHING = VerificationFilter()
