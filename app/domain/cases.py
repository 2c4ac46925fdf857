"""Cases: verifications that a clerk has to decide, with claims, so that nobody decides twice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from app.domain.errors import CaseClaimed, CaseDecided, CaseNotClaimed, UndoExpired
from app.domain.records import Verification

State = Literal["open", "decided", "closed"]
Kind = Literal["review", "quality-control"]
"""Why a clerk has to look at a verification: its decision is ``review``, or it was drawn for quality control."""
Order = Literal["oldest", "largest-amount"]
CaseDecision = Literal["accept", "reject"]
AcceptReason = Literal["matches", "natural-variation", "confirmed", "other"]
RejectReason = Literal["differs", "suspected-forgery", "denied", "unusable-image", "other"]
REASONS: dict[CaseDecision, tuple[str, ...]] = {
    "accept": ("matches", "natural-variation", "confirmed", "other"),
    "reject": ("differs", "suspected-forgery", "denied", "unusable-image", "other"),
}
"""Reason codes of each decision, in the order in which they are offered."""


def is_drawn(verification_id: str, share: float) -> bool:
    """Whether an automatic decision is drawn for quality control.

    The draw depends on nothing but the id, so that it can be checked later; the service makes the id at random after
    the comparison, so that no caller knows or chooses it before.

    Parameters
    ----------
    share : float
        In [0, 1].
    """
    digest = hashlib.sha256(f"quality-control {verification_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") < share * 2**48


@dataclass(frozen=True)
class Clerk:
    """A person who works on cases: the name that was given, and the key with which the request was sent.

    Two persons with the same key are told apart by their names, and two keys with the same name by their ids.
    """

    name: str
    key_id: str | None


@dataclass(frozen=True)
class Claim:
    """The right of one clerk to decide a case, until a time. After it, another clerk may claim the case."""

    clerk: Clerk
    until: datetime


@dataclass(frozen=True)
class Ruling:
    """The decision of a clerk.

    Attributes
    ----------
    reason : str
        One of `REASONS` of the decision.
    note : str or None
    """

    decision: CaseDecision
    reason: str
    note: str | None = None


@dataclass(frozen=True)
class Case:
    """A verification that a clerk looks at.

    Attributes
    ----------
    kind : {"review", "quality-control"}
        With ``quality-control``, the service has decided, and the ruling does not change its decision.
    state : {"open", "decided", "closed"}
        ``closed``: an outcome was recorded for the verification before a clerk decided.
    claim : Claim or None
        The latest claim of an open case, expired or not.
    decided_by : Clerk or None
        Of a decided case, like `ruling` and `decided_at`.
    is_image_kept : bool
        Whether the image of the questioned signature can be shown.
    amount, currency : Decimal and str, or None
        Of the document, where the signature was verified with one.
    seconds : float or None
        For how long the clerk looked at the case before deciding, as the page measured it.
    """

    verification: Verification
    state: State
    claim: Claim | None
    ruling: Ruling | None
    decided_by: Clerk | None
    decided_at: datetime | None
    is_image_kept: bool
    kind: Kind = "review"
    amount: Decimal | None = None
    currency: str | None = None
    seconds: float | None = None

    @property
    def case_id(self) -> str:
        """The id of the case, which is that of its verification."""
        return self.verification.verification_id

    def claim_at(self, time: datetime) -> Claim | None:
        """The claim that is in force at a time."""
        return self.claim if self.claim is not None and self.claim.until > time else None

    def is_claimed_by(self, clerk: Clerk) -> bool:
        """Whether the latest claim is the clerk's, even if it has expired: nobody else has claimed the case since."""
        return self.claim is not None and self.claim.clerk == clerk

    def refuse_claim(self, clerk: Clerk, time: datetime) -> None:
        """Raise CaseDecided or CaseClaimed unless the clerk may claim the case."""
        if self.state != "open":
            raise CaseDecided(
                f"Case {self.case_id!r} was decided already."
                if self.state == "decided"
                else f"Case {self.case_id!r} is closed: its outcome has been recorded."
            )
        claim = self.claim_at(time)
        if claim is not None and claim.clerk != clerk:
            raise CaseClaimed(
                f"Case {self.case_id!r} is claimed by {claim.clerk.name!r} until {claim.until:%H:%M:%S} UTC; take "
                "another case."
            )

    def refuse_decision(self, clerk: Clerk, time: datetime) -> None:
        """Raise CaseDecided, CaseClaimed or CaseNotClaimed unless the clerk may decide the case."""
        self.refuse_claim(clerk, time)
        if not self.is_claimed_by(clerk):
            raise CaseNotClaimed(f"Case {self.case_id!r} is not claimed by {clerk.name!r}; claim it first.")

    def refuse_undo(self, clerk: Clerk, deadline: datetime | None, time: datetime) -> None:
        """Raise UndoExpired unless the clerk may take the decision back."""
        if self.state != "decided" or self.decided_by != clerk:
            raise UndoExpired(f"There is no decision of {clerk.name!r} on case {self.case_id!r}.")
        if deadline is None or time >= deadline:
            raise UndoExpired(
                f"The decision on case {self.case_id!r} is final; an outcome of the verification can correct it."
            )
