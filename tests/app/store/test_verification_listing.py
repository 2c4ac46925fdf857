"""Pages of verifications by signer, decision and time: what is on them, and by which index the database finds it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from app.domain.assignment import Decision
from app.domain.ids import first_id_at
from app.domain.records import Finding, OperatingPoint, Verification
from app.domain.verification_filter import VerificationFilter
from app.store import verifications
from app.store.signer_locks import LockedSigner
from app.store.store import Store
from tests.fixtures import Database

pytestmark = pytest.mark.both_databases
START = datetime(2026, 1, 15, tzinfo=UTC)
COUNT = 2000
SIGNERS = 100


def made(number: int) -> Verification:
    """Return the verification of a second; most are accepted, and some have other times than their ids."""
    second = START + timedelta(seconds=number)
    decision = "reject" if number % 40 == 7 else "review" if number % 25 == 3 else "accept"
    at = second + timedelta(seconds=(0, 0, 40, -40)[number % 4], microseconds=number)
    finding = Finding(decision, 0.7, 0.76, 0.82, 1.2, OperatingPoint(0.1, 0.0005, 0.13), (), (), "tiny@0", at)
    identity = f"{first_id_at(second)[:24]}{number:012x}"
    outcome = "forged" if number % 110 == 7 else "genuine" if number % 15 == 2 else None
    return Verification(identity, f"s{number % SIGNERS}", finding, "0" * 64, outcome=outcome)


MADE = [made(number) for number in range(COUNT)]


@pytest.fixture
def store(opened: Callable[..., Store]) -> Store:
    """A store with the verifications of `MADE` for each of two tenants."""
    filled = opened()

    def fill(session: Session) -> None:
        for verification in MADE:
            verifications.add(session, LockedSigner("north", verification.signer_id, "k"), verification)
            if verification.outcome is not None:
                identity, at = verification.verification_id, verification.finding.created_at
                verifications.set_outcome(session, "north", identity, verification.outcome, None, at)
        for verification in MADE[::100]:
            other = Verification(
                f"{verification.verification_id[:-12]}{'f' * 12}", "s7", verification.finding, "0" * 64
            )
            verifications.add(session, LockedSigner("south", "s7", "k"), other)
        if session.get_bind().dialect.name == "postgresql":  # which does so by itself from time to time
            session.execute(text("ANALYZE verifications"))

    filled.write_now(fill)
    return filled


def listed(store: Store, signer_id: str | None, limit: int, wanted: VerificationFilter) -> list[str]:
    """Return the ids of all pages of the tenant north."""
    ids: list[str] = []
    after = None
    while True:
        page = store.read_now(verifications.page, "north", signer_id, limit, after, wanted)
        ids += [one.verification_id for one in page.items]
        assert len(page.items) == limit or page.next_after is None
        if (after := page.next_after) is None:
            return ids


def expected(signer_id: str | None, wanted: VerificationFilter) -> list[str]:
    begin, end = wanted.created_from, wanted.created_before
    return [
        one.verification_id
        for one in reversed(MADE)
        if signer_id in {None, one.signer_id}
        and wanted.decision in {None, one.finding.decision}
        and wanted.outcome in {None, one.outcome}
        and (begin is None or one.finding.created_at >= begin)
        and (end is None or one.finding.created_at < end)
    ]


def test_pages_contain_what_fits_all_conditions_newest_first(store: Store) -> None:
    rng = random.Random(0)
    decisions: list[Decision | None] = [None, "accept", "review", "reject"]
    found = 0
    for _ in range(60):
        begin, end = sorted(rng.sample(MADE, 2), key=lambda one: one.finding.created_at)
        wanted = VerificationFilter(
            rng.choice(decisions),
            rng.choice([None, None, "genuine", "forged"]),
            rng.choice([None, begin.finding.created_at]),
            rng.choice([None, end.finding.created_at]),
        )
        signer_id = rng.choice([None, "s7", "s3"])
        ids = listed(store, signer_id, rng.choice([1, 7, 500]) if signer_id else 500, wanted)
        assert ids == expected(signer_id, wanted), (signer_id, wanted)
        found += len(ids)
    assert found > COUNT


def test_pages_begin_after_the_cursor_for_any_conditions(store: Store) -> None:
    middle = MADE[1000]
    for wanted in (VerificationFilter("reject"), VerificationFilter(None, None, START)):
        page = store.read_now(verifications.page, "north", None, 500, middle.verification_id, wanted)
        ids = [one for one in expected(None, wanted) if one < middle.verification_id]
        assert [one.verification_id for one in page.items] == ids[:500]


SINCE = START + timedelta(seconds=500)
UNTIL = START + timedelta(seconds=1500)
INDEXES = [
    # With one tenant that has nearly all rows, PostgreSQL may as well take the primary key.
    (None, VerificationFilter(None, None, SINCE, UNTIL), "ix_verifications_tenant_id|verifications_pkey"),
    (None, VerificationFilter("reject"), "ix_verifications_tenant_decision"),
    (None, VerificationFilter("reject", None, SINCE, UNTIL), "ix_verifications_tenant_decision"),
    (None, VerificationFilter(None, "forged"), "ix_verifications_tenant_outcome"),
    (None, VerificationFilter("accept", "forged", SINCE, UNTIL), "ix_verifications_tenant_outcome"),
    ("s7", VerificationFilter("reject", "forged"), "ix_verifications_tenant_signer"),
    ("s7", VerificationFilter("reject"), "ix_verifications_tenant_signer"),
    ("s7", VerificationFilter("reject", None, SINCE, UNTIL), "ix_verifications_tenant_signer"),
]
"""Signer, filter, and the indexes of which a page is a range."""


def test_pages_are_ranges_of_an_index(store: Store, database: Database) -> None:
    def explain(
        session: Session, signer_id: str | None, wanted: VerificationFilter, after: str | None
    ) -> list[str]:
        seen: list[tuple[str, Any]] = []

        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            seen.append((statement, parameters))

        event.listen(Engine, "before_cursor_execute", note)
        try:
            verifications.page(session, "north", signer_id, 50, after, wanted)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        statement, parameters = next(one for one in seen if "FROM verifications" in one[0])
        verb = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        rows = session.connection().exec_driver_sql(f"{verb} {statement}", parameters)
        return [str(row[-1]) for row in rows]

    for signer_id, wanted, indexes in INDEXES:
        for after in (None, MADE[1400].verification_id):
            lines = store.read_now(explain, signer_id, wanted, after)
            plan = "\n".join(lines)
            assert re.search(indexes, plan), plan
            assert not re.search("Seq Scan|TEMP B-TREE", plan), plan
            condition = next(line for line in lines if re.search("Index Cond|SEARCH", line))
            is_bounded = after is not None or wanted.created_from is not None
            assert ("verification_id" in condition.partition("(")[2]) == is_bounded, plan
