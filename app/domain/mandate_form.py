"""The form of a mandate: who may sign for an account, and how many of them up to which amount.

It is data: the body of ``PUT /accounts/{account_id}``, stored as JSON with each version of the account. The JSON
Schema in ``docs/account.schema.json`` is generated from it. :mod:`app.domain.mandates` applies it.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from decimal import Decimal
from itertools import combinations, pairwise
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from app.domain.caller_ids import MAX_LENGTH, is_printable, signer_id
from app.domain.exact_numbers import ExactNumber
from app.domain.validation import AMOUNT_EXPECTED, AMOUNT_PATTERN, CURRENCY_PATTERN, PANEL_PATTERN

MAX_SIGNATORIES, MAX_BANDS, MAX_RULES, MAX_PANELS = 50, 20, 10, 10
INSTRUCTION_LENGTH, ROLE_LENGTH = 2000, 128
_AMOUNT = re.compile(AMOUNT_PATTERN, re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_DATE_EXPECTED = "send a day of the calendar as YYYY-MM-DD, such as 2026-06-30"


def amount(value: object) -> Decimal:
    """Validate an amount of money: an integer, a number of JSON with its digits, or text. Raises ValueError."""
    if isinstance(value, Decimal):
        value = format(value, "f")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, ExactNumber):
        value = value.text
    # Not another float: most decimal fractions have no exact value as a binary floating-point number.
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value):
        raise ValueError(AMOUNT_EXPECTED)
    return Decimal(value)


def amount_text(value: Decimal) -> str:
    """Return an amount as text, without zeros at the end of its fraction."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def iso_date(value: object) -> date:
    """Validate a date, ``YYYY-MM-DD``. Raises ValueError."""
    if isinstance(value, date):
        return value
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError(_DATE_EXPECTED)
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(_DATE_EXPECTED) from None


def _one_line(text: str) -> str:
    if not is_printable(text):
        raise ValueError("the text has to consist of printable characters")
    return text


def _text(text: str) -> str:
    if not all(is_printable(line) for line in text.split("\n")):
        raise ValueError("the text has to consist of printable characters and line feeds")
    return text


AMOUNT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": AMOUNT_PATTERN},
        {"type": "number", "minimum": 0, "exclusiveMaximum": 10**15},
    ]
}
Amount = Annotated[
    Decimal, BeforeValidator(amount), PlainSerializer(amount_text), WithJsonSchema(AMOUNT_SCHEMA)
]
IsoDate = Annotated[date, BeforeValidator(iso_date), WithJsonSchema({"type": "string", "format": "date"})]
SignerIdText = Annotated[
    str,
    AfterValidator(signer_id),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_LENGTH, "format": "signer-id"}),
]
Panel = Annotated[str, Field(pattern=PANEL_PATTERN)]
Currency = Annotated[str, Field(pattern=CURRENCY_PATTERN, description="Currency code, ISO 4217.")]
Count = Annotated[int, Field(ge=1, le=MAX_SIGNATORIES, strict=True)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Signatory(_Form):
    """A signer who may sign for an account during a period."""

    signer_id: SignerIdText = Field(description="An enrolled signer.", examples=["writer-001"])
    panel: Panel | None = Field(
        default=None, description="Panel of the signatory, to which rules refer.", examples=["A"]
    )
    role: Annotated[str, AfterValidator(_one_line)] | None = Field(
        default=None, max_length=ROLE_LENGTH, description="Function, for the clerk.", examples=["director"]
    )
    valid_from: IsoDate | None = Field(
        default=None, description="First day on which a signature counts; null: since ever."
    )
    valid_to: IsoDate | None = Field(
        default=None, description="Last day on which a signature counts; null: until further notice."
    )
    limit: Amount | None = Field(
        default=None, description="Largest amount for which a signature counts; null: no limit of their own."
    )
    always_refer: bool = Field(
        default=False,
        strict=True,
        description="Whether a clerk has to look at everything that this signatory signs: the decision is at best "
        "`review`.",
    )

    @model_validator(mode="after")
    def _check_period(self) -> Signatory:
        if self.valid_from and self.valid_to and self.valid_to < self.valid_from:
            raise ValueError(f"valid_to of {self.signer_id!r} is before valid_from")
        return self

    def is_valid_on(self, day: date) -> bool:
        """Whether the signatory may sign on a day; both ends of the period are included."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_to is None or day <= self.valid_to
        )

    def overlaps(self, other: Signatory) -> bool:
        """Whether there is a day on which both entries are valid."""
        starts = [entry.valid_from for entry in (self, other) if entry.valid_from is not None]
        ends = [entry.valid_to for entry in (self, other) if entry.valid_to is not None]
        return not starts or not ends or max(starts) <= min(ends)


class Rule(_Form):
    """A combination of signatories that suffices."""

    signatures: Count = Field(
        default=1, description="Number of signatories who have to sign, of whatever panel.", examples=[2]
    )
    panels: dict[Panel, Count] = Field(
        default_factory=dict,
        max_length=MAX_PANELS,
        description="Number of signatories who have to sign, by panel.",
        examples=[{"A": 1, "B": 1}],
    )

    @property
    def text(self) -> str:
        """The rule in words, such as ``1 of panel A and 1 of panel B``."""
        panels = " and ".join(f"{count} of panel {panel}" for panel, count in sorted(self.panels.items()))
        if not panels:
            return f"any {self.signatures}"
        if self.signatures <= sum(self.panels.values()):
            return panels
        return f"any {self.signatures} with {panels} among them"


class Band(_Form):
    """The rules for a range of amounts; one of them has to hold."""

    up_to: Amount | None = Field(
        default=None, description="Largest amount of the band; null: no upper end.", examples=["10000"]
    )
    rules: tuple[Rule, ...] = Field(
        min_length=1, max_length=MAX_RULES, description="Alternatives: it suffices that one holds."
    )
    target_far: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        strict=True,
        description="Share of skilled forgeries that may be accepted in this band, within `calibration.far_range` of "
        "`/model`. It replaces the setting of the service; a signer's own `target_far` applies where it is lower, "
        "and a signer's `fixed_threshold` always applies. null: as for `/verify` without an amount.",
        examples=[0.05],
    )


class Mandate(_Form):
    """Who may sign for an account, and the rules by amount."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "signatories": [
                        {"signer_id": "writer-001", "panel": "A", "role": "director"},
                        {"signer_id": "writer-002", "panel": "B", "valid_to": "2026-06-30"},
                    ],
                    "bands": [
                        {"up_to": "10000", "rules": [{"signatures": 1}], "target_far": 0.1},
                        {"up_to": None, "rules": [{"panels": {"A": 1, "B": 1}}], "target_far": 0.05},
                    ],
                    "currency": "EUR",
                    "instruction": "Call the company before orders to a new payee.",
                }
            ]
        }
    )

    signatories: tuple[Signatory, ...] = Field(
        min_length=1,
        max_length=MAX_SIGNATORIES,
        description="A signer may occur several times, for periods that do not overlap.",
    )
    bands: tuple[Band, ...] = Field(
        min_length=1,
        max_length=MAX_BANDS,
        description="By increasing `up_to`; only the last band may have none. An amount belongs to the first band "
        "whose `up_to` is not below it.",
    )
    currency: Currency | None = Field(default=None, description="Currency of all amounts, ISO 4217.")
    instruction: Annotated[str, AfterValidator(_text)] | None = Field(
        default=None, max_length=INSTRUCTION_LENGTH, description="Free text for the clerk."
    )
    effective_from: IsoDate | None = Field(
        default=None,
        description="First day to whose signatures this version applies; earlier ones are judged by the version "
        "before. null: it applies to signatures of all days.",
    )

    @model_validator(mode="after")
    def _check_signatories(self) -> Mandate:
        for one, other in combinations(self.signatories, 2):
            if one.signer_id == other.signer_id and one.overlaps(other):
                raise ValueError(f"the signatory {one.signer_id!r} occurs twice for the same day")
        return self

    @model_validator(mode="after")
    def _check_bands(self) -> Mandate:
        for before, after in pairwise(self.bands):
            if before.up_to is None or (after.up_to is not None and after.up_to <= before.up_to):
                raise ValueError("up_to has to increase from band to band, and only the last may have none")
        return self

    @model_validator(mode="after")
    def _check_rules(self) -> Mandate:
        """Refuse rules that can never hold, such as one with a misspelt panel."""
        people = {signatory.signer_id for signatory in self.signatories}
        sizes = Counter(
            panel for _, panel in {(signatory.signer_id, signatory.panel) for signatory in self.signatories}
        )
        for number, band in enumerate(self.bands, 1):
            for rule in band.rules:
                if rule.signatures > len(people):
                    raise ValueError(
                        f"band {number} asks for {rule.signatures} signatories; the account has {len(people)}"
                    )
                for panel, count in rule.panels.items():
                    if count > sizes[panel]:
                        raise ValueError(
                            f"band {number} asks for {count} of panel {panel}; the account has {sizes[panel]}"
                        )
        return self

    def band_of(self, value: Decimal) -> int | None:
        """Return the index of the band of an amount; None when it is above the last band."""
        for index, band in enumerate(self.bands):
            if band.up_to is None or value <= band.up_to:
                return index
        return None

    def valid_on(self, day: date) -> tuple[Signatory, ...]:
        """Return the signatories who may sign on a day; each signer once."""
        return tuple(signatory for signatory in self.signatories if signatory.is_valid_on(day))
