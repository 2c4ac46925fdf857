"""Settings of the decision: thresholds, numbers of references, and the cases that clerks decide."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from app.domain.amounts import RateBand, parse_bands
from app.domain.validation import CURRENCY_PATTERN
from app.settings.base import EMPTY_IS_NONE, PREFIX, Options


class DecisionOptions(Options):
    """How the service decides, and what it leaves to a person."""

    # Thresholds and references
    target_far: float = Field(
        default=0.10,
        gt=0,
        lt=1,
        description="Share of skilled forgeries that may be accepted: it sets the threshold of `accept`. "
        "Can be set for each signer.",
    )
    review_far: Annotated[float | None, EMPTY_IS_NONE] = Field(
        default=0.30,
        gt=0,
        lt=1,
        description="A larger share, up to whose threshold the decision is `review` instead of `reject`; "
        "empty: no review.",
    )
    target_far_bands: str = Field(
        default="",
        description="`target_far` by the amount that `/verify` is sent, such as 10000:0.1,50000:0.05,above:0.02: "
        "0.1 up to 10000, and so on; the last band applies without an amount. A signer's own `target_far` applies "
        "where it is lower, and a signer's `fixed_threshold` instead of all. Empty: `target_far` for all amounts. "
        "Accounts have bands of their own.",
    )
    bands_currency: Annotated[str | None, EMPTY_IS_NONE] = Field(
        default=None,
        pattern=CURRENCY_PATTERN,
        description="Currency of `target_far_bands`, ISO 4217: an amount in another one is refused with "
        "`currency-mismatch`. Empty: amounts are compared as numbers.",
    )
    fixed_threshold: Annotated[float | None, EMPTY_IS_NONE] = Field(
        default=None,
        gt=0,
        description="A distance up to which signatures are accepted, for all signers, instead of `target_far`, at "
        "most `calibration.largest_threshold` of `/model`. Its error rates depend on the signer; the answers state "
        "them.",
    )
    min_references: int = Field(
        default=1,
        ge=1,
        le=50,
        description="Minimum number of references that a signer needs for verification.",
    )
    max_references: int = Field(
        default=50, ge=1, le=1000, description="Maximum number of references of one signer."
    )

    # Cases
    case_claim_s: int = Field(
        default=600,
        ge=10,
        le=86_400,
        description="Seconds for which a clerk's claim keeps a case from other clerks, unless it is renewed.",
    )
    case_undo_s: int = Field(
        default=10,
        ge=0,
        le=3600,
        description="Seconds within which a clerk may take back a decision on a case; 0: never.",
    )
    quality_control_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the decisions accept and reject that are drawn for a clerk to look at as well, for "
        "quality control; the answer is not changed by it.",
    )

    @field_validator("target_far_bands")
    @classmethod
    def _are_bands(cls, value: str) -> str:
        parse_bands(value)
        return value

    @model_validator(mode="after")
    def _check_decision(self) -> Self:
        if self.review_far is not None and self.review_far <= self.target_far:
            raise ValueError(
                f"{PREFIX}REVIEW_FAR={self.review_far:g} must be larger than {PREFIX}TARGET_FAR={self.target_far:g}, "
                "or empty"
            )
        self._check_bands()
        if self.max_references < self.min_references:
            raise ValueError("max_references must not be smaller than min_references")
        return self

    def _check_bands(self) -> None:
        bands = self.rate_bands
        if self.bands_currency is not None and not bands:
            raise ValueError("bands_currency is set without target_far_bands")
        if bands and self.fixed_threshold is not None:
            raise ValueError("target_far_bands and fixed_threshold are both set; set one of them")
        if bands and self.review_far is not None and self.review_far <= bands[0].target_far:
            raise ValueError(
                f"{PREFIX}REVIEW_FAR={self.review_far:g} must be larger than the shares of "
                f"{PREFIX}TARGET_FAR_BANDS={self.target_far_bands}, or empty"
            )

    @property
    def rate_bands(self) -> tuple[RateBand, ...]:
        """`target_far_bands` as records."""
        return parse_bands(self.target_far_bands)
