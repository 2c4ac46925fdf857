"""Ids that the service makes: their order, and the form in which they are stored."""

from __future__ import annotations

import uuid

import pytest

from app.domain.ids import new_id, record_id


def test_ids_are_sorted_by_the_order_in_which_they_were_made() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))
    assert {uuid.UUID(one).version for one in ids} == {7}


def test_an_id_in_upper_case_is_the_same_id() -> None:
    made = new_id()
    assert record_id(made.upper()) == record_id(made) == made


@pytest.mark.parametrize("text", ["", "MAIN", "0123456789ABCDEF0123456789ABCDEF", "{0}", "x" * 36])
def test_text_that_is_no_id_is_not_changed(text: str) -> None:
    assert record_id(text) == text
