"""Request and response schemas of cases."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.schemas import EXAMPLE_ID, EXAMPLE_TIME, Out, RecordId, ReferenceDistanceOut, VerificationRecord
from app.decoding.pool import Picture
from app.domain.callers import Caller
from app.domain.cases import (
    AcceptReason,
    Case,
    CaseDecision,
    Clerk,
    Kind,
    Order,
    RejectReason,
    Ruling,
    State,
)
from app.domain.mandate_form import amount_text
from app.domain.records import now
from app.domain.validation import CLERK_PATTERN
from app.services.case_pictures import MAX_REFERENCES, CasePictures
from app.services.cases import undo_until
from app.services.context import AppContext

ClerkName = Annotated[
    str | None,
    Field(
        pattern=CLERK_PATTERN,
        description="Name or initials of the person, for the record and to tell apart those who send the same key. "
        "By default the name of the key.",
        examples=["anna"],
    ),
]
Note = Annotated[
    str | None,
    Field(max_length=1000, description="Free text. It is stored unencrypted and returned with the case."),
]


class ClerkIn(BaseModel):
    """Who works on the case."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"clerk": "anna"}]})

    clerk: ClerkName = None


class NextCaseIn(ClerkIn):
    """Who asks for a case, and after which one."""

    after: RecordId | None = Field(
        default=None,
        max_length=64,
        description="Id of a case that is left out, because one works on it or leaves it for later; the next one "
        "after it is claimed.",
        examples=[EXAMPLE_ID],
    )
    order: Order = Field(
        default="oldest", description="Which case is first: the oldest, or the one with the largest amount."
    )


class DecisionIn(ClerkIn):
    """What both decisions have."""

    note: Note = None
    seconds: float | None = Field(
        default=None,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        strict=True,
        description="Seconds for which the clerk looked at the case, for the statistics.",
    )


class AcceptIn(DecisionIn):
    """The signature is accepted."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"clerk": "anna", "decision": "accept", "reason": "matches"}]}
    )

    decision: Literal["accept"]
    reason: AcceptReason = Field(
        description="`matches`: it agrees with the references. `natural-variation`: the differences are those of one "
        "writer. `confirmed`: the signer has confirmed it. `other`: `note` states it."
    )

    @property
    def ruling(self) -> Ruling:
        """The decision as the service stores it."""
        return Ruling(self.decision, self.reason, self.note)


class RejectIn(DecisionIn):
    """The signature is rejected."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"clerk": "anna", "decision": "reject", "reason": "differs"}]}
    )

    decision: Literal["reject"]
    reason: RejectReason = Field(
        description="`differs`: it does not agree with the references. `suspected-forgery`: it imitates them. "
        "`denied`: the signer denies it. `unusable-image`: the image does not show enough. `other`: `note` states it."
    )

    @property
    def ruling(self) -> Ruling:
        """The decision as the service stores it."""
        return Ruling(self.decision, self.reason, self.note)


RulingIn = Annotated[AcceptIn | RejectIn, Field(discriminator="decision")]


class CaseOut(Out):
    """A verification that a clerk looks at, with its claim and its decision."""

    case_id: str = Field(description="The `verification_id` of its verification.", examples=[EXAMPLE_ID])
    state: State = Field(
        description="`open`; `decided` by a clerk; or `closed`, because an outcome was recorded before."
    )
    kind: Kind = Field(
        description="`review`: the service left the decision to a person. `quality-control`: the service decided, "
        "and the verification was drawn at random; the clerk's decision does not change the answer."
    )
    amount: str | None = Field(
        description="Amount of the document that was signed; null when it was verified without one.",
        examples=[None],
    )
    currency: str | None = Field(description="Currency code, ISO 4217.", examples=[None])
    image_kept: bool = Field(
        description="Whether the image of the questioned signature is kept and can be fetched."
    )
    claimed_by: str | None = Field(description="The clerk who has claimed the case.", examples=["anna"])
    claimed_until: datetime | None = Field(
        description="Time until which nobody else can claim it, in UTC.", examples=[EXAMPLE_TIME]
    )
    decision: CaseDecision | None = Field(examples=["accept"])
    reason: str | None = Field(examples=["matches"])
    note: str | None
    decided_by: str | None = Field(examples=["anna"])
    decided_at: datetime | None = Field(examples=[EXAMPLE_TIME])
    undo_until: datetime | None = Field(
        description="Time until which the clerk can take the decision back, in UTC. After it, the decision is final.",
        examples=[EXAMPLE_TIME],
    )
    verification: VerificationRecord

    @classmethod
    def of(cls, context: AppContext, case: Case) -> CaseOut:
        """Convert a case; a claim that has expired is left out."""
        claim, ruling = case.claim_at(now()), case.ruling
        return cls(
            case_id=case.case_id,
            state=case.state,
            kind=case.kind,
            amount=None if case.amount is None else amount_text(case.amount),
            currency=case.currency,
            image_kept=case.is_image_kept,
            claimed_by=claim.clerk.name if claim else None,
            claimed_until=claim.until if claim else None,
            decision=ruling.decision if ruling else None,
            reason=ruling.reason if ruling else None,
            note=ruling.note if ruling else None,
            decided_by=case.decided_by.name if case.decided_by else None,
            decided_at=case.decided_at,
            undo_until=undo_until(context.settings, case),
            verification=VerificationRecord.of(case.verification),
        )


class CasesPage(Out):
    """One page of cases. Send `next_cursor` as `cursor` to get the next page; null means this is the last."""

    cases: list[CaseOut]
    next_cursor: str | None


class PictureOut(Out):
    """A signature alone on white paper. Pictures are aligned where their centres and their spreads agree."""

    image: str = Field(description="PNG image in base64, cropped to the ink.")
    width: int = Field(description="Width in pixels.", examples=[512])
    height: int = Field(description="Height in pixels.", examples=[180])
    centre: tuple[float, float] = Field(
        description="Mean position of the ink, x and y in pixels.", examples=[[250.1, 93.4]]
    )
    spread: float = Field(
        description="Standard deviation of the ink around the centre in pixels.", examples=[131.0]
    )

    @classmethod
    def of(cls, picture: Picture | None) -> PictureOut | None:
        """Convert a picture; None when there is none."""
        if picture is None:
            return None
        image = base64.b64encode(picture.image).decode()
        return cls(
            image=image,
            width=picture.width,
            height=picture.height,
            centre=picture.centre,
            spread=picture.spread,
        )


class ReferencePictureOut(ReferenceDistanceOut):
    """A reference with its picture."""

    picture: PictureOut | None = Field(
        description="null when the reference was deleted or its image cannot be shown."
    )


class CasePicturesOut(Out):
    """The signatures of a case."""

    case_id: str = Field(examples=[EXAMPLE_ID])
    questioned: PictureOut | None = Field(description="null when the image is not kept or cannot be shown.")
    references: list[ReferencePictureOut] = Field(
        description=f"The closest references, at most {MAX_REFERENCES}, the closest first."
    )

    @classmethod
    def of(cls, pictures: CasePictures) -> CasePicturesOut:
        """Convert the pictures of a case."""
        return cls(
            case_id=pictures.case.case_id,
            questioned=PictureOut.of(pictures.questioned),
            references=[
                ReferencePictureOut(
                    reference_id=item.reference.reference_id,
                    distance=item.reference.distance,
                    picture=PictureOut.of(item.picture),
                )
                for item in pictures.references
            ],
        )


class NextCaseOut(Out):
    """The claimed case; null when no case is left that nobody else has claimed."""

    case: CaseOut | None


def clerk_of(caller: Caller, name: str | None) -> Clerk:
    """Return the person who sent a request."""
    return Clerk(caller.name if name is None else name, caller.key_id)
