"""Properties of the assignment and of the rules, for all mandates and all evidence."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain.assignment import Evidence, assign
from app.domain.mandate_form import Mandate
from app.domain.mandates import Ruling, apply

DAY = date(2026, 1, 15)
RANK = {"reject": 0, "review": 1, "accept": 2}
Row = dict[str, Evidence]

# Few values, so that there are many ties.
ratios = st.integers(-4, 4).map(float) | st.floats(-20, 20).map(lambda value: round(value, 3))
decisions = st.sampled_from(["accept", "review", "reject"])
evidences = st.builds(Evidence, decision=decisions, log_likelihood_ratio=ratios)


@st.composite
def mandates(draw: st.DrawFn) -> Mandate:
    """A mandate of up to 5 signatories in up to 2 panels, with up to 3 bands."""
    count = draw(st.integers(1, 5))
    signatories: list[dict[str, Any]] = [
        {
            "signer_id": f"s{number}",
            "panel": draw(st.sampled_from(["A", "B", None])),
            "limit": draw(st.none() | st.integers(0, 100)),
            "always_refer": draw(st.booleans()),
            "valid_to": draw(st.sampled_from([None, None, "2026-01-15", "2026-01-14"])),
        }
        for number in range(count)
    ]
    sizes = {panel: sum(entry["panel"] == panel for entry in signatories) for panel in "AB"}

    def rule() -> dict[str, Any]:
        panels = {panel: draw(st.integers(0, size)) for panel, size in sizes.items()}
        return {
            "signatures": draw(st.integers(1, count)),
            "panels": {panel: number for panel, number in panels.items() if number},
        }

    ends: list[int | None] = sorted(draw(st.sets(st.integers(0, 100), max_size=2)))  # type: ignore[assignment]
    if draw(st.booleans()) or not ends:
        ends.append(None)
    bands = [{"up_to": end, "rules": [rule() for _ in range(draw(st.integers(1, 2)))]} for end in ends]
    return Mandate.model_validate({"signatories": signatories, "bands": bands})


@st.composite
def documents(draw: st.DrawFn, extra: int = 0) -> tuple[Mandate, Decimal, list[Row], list[str]]:
    """A mandate, an amount, the evidence of some signatures, and who could not be compared."""
    mandate = draw(mandates())
    valid = [signatory.signer_id for signatory in mandate.valid_on(DAY)]
    pending = [signer_id for signer_id in valid if draw(st.integers(0, 4)) == 0]
    compared = [signer_id for signer_id in valid if signer_id not in pending]
    count = draw(st.integers(1, 5)) + extra
    rows = [{signer_id: draw(evidences) for signer_id in compared} for _ in range(count)]
    return mandate, Decimal(draw(st.integers(0, 110))), rows, pending


def rule_on(document: tuple[Mandate, Decimal, list[Row], list[str]]) -> Ruling:
    mandate, value, rows, pending = document
    return apply(mandate, DAY, value, rows, pending)


@given(documents(extra=1))
def test_another_signature_never_turns_accept_or_review_into_reject(
    document: tuple[Mandate, Decimal, list[Row], list[str]],
) -> None:
    mandate, value, rows, pending = document
    fewer = apply(mandate, DAY, value, rows[:-1], pending)
    more = apply(mandate, DAY, value, rows, pending)
    if fewer.decision != "reject":
        assert more.decision != "reject"


@given(documents())
def test_nobody_counts_twice(document: tuple[Mandate, Decimal, list[Row], list[str]]) -> None:
    ruling = rule_on(document)
    signed = [item.signatory.signer_id for item in ruling.signatures if item.signatory is not None]
    assert len(signed) == len(set(signed))
    for result in ruling.rules:
        assert result.requirements[0].counted <= len(set(signed))


@given(documents(), st.randoms(use_true_random=False))
def test_the_order_of_the_signatures_does_not_matter(
    document: tuple[Mandate, Decimal, list[Row], list[str]], random: Any
) -> None:
    mandate, value, rows, pending = document
    order = list(range(len(rows)))
    random.shuffle(order)
    straight = apply(mandate, DAY, value, rows, pending)
    shuffled = apply(mandate, DAY, value, [rows[index] for index in order], pending)
    assert (shuffled.decision, shuffled.band, shuffled.rules) == (
        straight.decision,
        straight.band,
        straight.rules,
    )
    distinct = {
        tuple(
            sorted((key, item.decision, round(item.log_likelihood_ratio * 1000)) for key, item in row.items())
        )
        for row in rows
    }
    if len(distinct) == len(rows):  # equal signatures may change places
        assert [shuffled.signatures[order.index(index)] for index in range(len(rows))] == list(
            straight.signatures
        )


@given(documents())
def test_accept_means_that_valid_signatories_signed_within_their_limits(
    document: tuple[Mandate, Decimal, list[Row], list[str]],
) -> None:
    mandate, value, _, pending = document
    ruling = rule_on(document)
    if ruling.decision != "accept":
        return
    assert all(item.status == "accepted" for item in ruling.signatures)
    counted = [item.signatory for item in ruling.signatures if item.counts and item.signatory is not None]
    assert all(entry.is_valid_on(DAY) and entry.signer_id not in pending for entry in counted)
    assert all(entry.limit is None or value <= entry.limit for entry in counted)
    assert not any(item.signatory and item.signatory.always_refer for item in ruling.signatures)
    assert ruling.band is not None
    assert any(
        len(counted) >= rule.signatures
        and all(sum(entry.panel == panel for entry in counted) >= n for panel, n in rule.panels.items())
        for rule in mandate.bands[ruling.band].rules
    )


@given(documents())
def test_reject_stands_even_if_every_doubt_is_resolved_in_favour(
    document: tuple[Mandate, Decimal, list[Row], list[str]],
) -> None:
    mandate, value, rows, _ = document
    ruling = rule_on(document)
    if ruling.decision != "reject":
        return
    best: list[Row] = [
        {
            key: Evidence("reject" if item.decision == "reject" else "accept", item.log_likelihood_ratio)
            for key, item in row.items()
            if result.signatory is not None and key == result.signatory.signer_id
        }
        for row, result in zip(rows, ruling.signatures, strict=True)
    ]
    filled = [{**{key: Evidence("reject", 0.0) for other in best for key in other}, **row} for row in best]
    assert apply(mandate, DAY, value, filled).decision == "reject"


@given(documents())
def test_a_ruling_explains_itself_in_one_sentence(
    document: tuple[Mandate, Decimal, list[Row], list[str]],
) -> None:
    ruling = rule_on(document)
    assert ruling.sentence.endswith(".")
    assert ruling.sentence.count(". ") == 0
    codes = [reason.code for reason in ruling.reasons]
    assert codes[0] in {"rule-held", "rule-open", "rule-failed", "no-band"}
    assert (ruling.decision == "reject") == (codes[0] == "rule-failed")


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_the_assignment_is_the_best_of_all(count: int, width: int, data: st.DataObject) -> None:
    table = [[data.draw(evidences) for _ in range(width)] for _ in range(count)]

    def worth(columns: Any) -> tuple[int, int, int]:
        pairs = [table[row][column] for row, column in enumerate(columns) if column is not None]
        admitted = [item for item in pairs if item.decision != "reject"]
        return (
            sum(item.decision == "accept" for item in admitted),
            len(admitted),
            sum(round(item.log_likelihood_ratio * 1000) for item in admitted),
        )

    everyone = [*range(width), *[None] * count]
    best = max(worth(columns) for columns in permutations(everyone, count))
    assigned = assign(table)
    assert worth(assigned) == best
    assert sum(column is not None for column in assigned) == min(count, width)


def test_a_bad_signature_does_not_take_the_signatory_of_a_good_one() -> None:
    good, bad = Evidence("accept", 1.0), Evidence("reject", -1.0)
    table = [[good, Evidence("accept", 0.9)], [bad, Evidence("reject", -5.0)]]
    assert assign(table) == (0, 1)


def test_a_signatory_counts_on_the_days_of_their_period_only() -> None:
    mandate = Mandate.model_validate(
        {
            "signatories": [{"signer_id": "a", "valid_from": "2026-01-01", "valid_to": "2026-01-31"}],
            "bands": [{"rules": [{}]}],
        }
    )
    signed = [{"a": Evidence("accept", 1.0)}]
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 31), date(2026, 2, 1)]
    decisions = [apply(mandate, day, Decimal(1), signed).decision for day in days]
    assert decisions == ["reject", "accept", "accept", "reject"]


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_a_signer_may_return_but_not_be_listed_twice_for_a_day(left: int, back: int, day: int) -> None:
    start = date(2026, 1, 1)
    form = {
        "signatories": [
            {"signer_id": "a", "panel": "B", "valid_to": str(start + timedelta(left))},
            {"signer_id": "a", "panel": "A", "valid_from": str(start + timedelta(back))},
        ],
        "bands": [{"rules": [{"signatures": 1}]}],
    }
    if back <= left:
        with pytest.raises(ValidationError, match="occurs twice"):
            Mandate.model_validate(form)
        return
    assert len(Mandate.model_validate(form).valid_on(start + timedelta(day))) <= 1


@given(mandates(), st.integers(0, 120))
def test_an_amount_belongs_to_the_first_band_that_reaches_it(mandate: Mandate, value: int) -> None:
    assume(mandate.bands)
    index = mandate.band_of(Decimal(value))
    fits = [band.up_to is None or value <= band.up_to for band in mandate.bands]
    assert index == (fits.index(True) if any(fits) else None)


@given(mandates())
def test_a_mandate_survives_storage(mandate: Mandate) -> None:
    assert Mandate.model_validate_json(mandate.model_dump_json()) == mandate


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": []}, "at least 1"),
        ({"bands": [{"rules": [{"panels": {"C": 1}}]}]}, "asks for 1 of panel C; the account has 0"),
        ({"bands": [{"rules": [{"signatures": 3}]}]}, "asks for 3 signatories; the account has 2"),
        ({"bands": [{"up_to": 5, "rules": [{}]}, {"up_to": 5, "rules": [{}]}]}, "increase"),
        ({"bands": [{"rules": [{}]}, {"up_to": 5, "rules": [{}]}]}, "increase"),
        ({"bands": [{"up_to": 0.5, "rules": [{}]}]}, "send an amount such as"),
        ({"bands": [{"up_to": "-1", "rules": [{}]}]}, "send an amount such as"),
        ({"bands": [{"rules": [{}], "target_far": 1.0}]}, "less than 1"),
        ({"bands": [{"rules": [{"script": "x"}]}]}, "Extra inputs"),
        ({"effective_from": 1700000000}, "YYYY-MM-DD"),
        ({"effective_from": "20260101"}, "YYYY-MM-DD"),
        ({"instruction": "a\x00b"}, "printable"),
        ({"currency": "eur"}, "pattern"),
    ],
)
def test_a_faulty_mandate_is_refused(change: dict[str, Any], message: str) -> None:
    form = {
        "signatories": [{"signer_id": "a", "panel": "A"}, {"signer_id": "b", "panel": "B"}],
        "bands": [{"rules": [{"signatures": 1}]}],
    }
    with pytest.raises(ValidationError, match=message):
        Mandate.model_validate(form | change)
