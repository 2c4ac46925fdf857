"""Ids that the service makes: their order, and the form in which they are stored."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.ids import first_id_at, new_id, record_id


def test_ids_are_sorted_by_the_order_in_which_they_were_made() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))
    assert {uuid.UUID(one).version for one in ids} == {7}


def test_the_first_id_of_a_millisecond_is_between_earlier_and_later_ids() -> None:
    moment = datetime.now(UTC)
    assert first_id_at(moment, -timedelta(minutes=1)) < new_id() < first_id_at(moment, timedelta(minutes=1))
    first = first_id_at(datetime(2026, 1, 15, 9, 30, 0, 5999, tzinfo=UTC))
    assert uuid.UUID(first).int >> 80 == 1_768_469_400_005
    assert (uuid.UUID(first).version, uuid.UUID(first).variant) == (7, uuid.RFC_4122)


def test_times_that_no_id_has_get_the_first_or_the_last_one() -> None:
    earliest, latest = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for early in (earliest, datetime(1970, 1, 1, tzinfo=UTC)):
        assert first_id_at(early, -timedelta(minutes=1)) == "00000000-0000-7000-8000-000000000000"
    assert first_id_at(latest, timedelta(days=366 * 9000)) == "ffffffff-ffff-7000-8000-000000000000"


def test_an_id_in_upper_case_is_the_same_id() -> None:
    made = new_id()
    assert record_id(made.upper()) == record_id(made) == made


@pytest.mark.parametrize("text", ["", "MAIN", "0123456789ABCDEF0123456789ABCDEF", "{0}", "x" * 36])
def test_text_that_is_no_id_is_not_changed(text: str) -> None:
    assert record_id(text) == text
