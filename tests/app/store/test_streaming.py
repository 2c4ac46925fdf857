"""Rows that are processed while PostgreSQL still sends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from app.domain.errors import StoreUnavailable
from app.store.encryption.cipher import Cipher
from app.store.encryption.data_keys import DataKeys
from app.store.store import Store
from app.store.streaming import ROWS_AT_ONCE, is_streaming, streamed
from tests.fixtures import TEST_KEY
from tests.postgres import Postgres

MANY = "SELECT n, repeat('x', 12000)::bytea FROM generate_series(1, %(count)s) n"
COUNT = 10 * ROWS_AT_ONCE + 3


@pytest.fixture
def store(postgres: Postgres, migrated: str) -> Iterator[Store]:
    name = postgres.new_database(migrated)
    opened = Store.open(postgres.url(name), 1, Cipher(DataKeys([TEST_KEY])))
    yield opened
    opened.close()
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def numbers(session: Session, count: int) -> list[int]:
    with streamed(session, MANY, {"count": count}) as rows:
        return [number for number, content in rows if content == b"x" * 12000]


def test_rows_arrive_in_order_and_the_session_goes_on(store: Store) -> None:
    def work(session: Session) -> None:
        assert is_streaming(session)
        assert numbers(session, COUNT) == list(range(1, COUNT + 1))
        assert session.scalar(text("SELECT 1")) == 1
        assert numbers(session, 0) == []

    store.read_now(work)


def test_a_statement_can_be_left_before_its_end(store: Store) -> None:
    def work(session: Session) -> None:
        with streamed(session, MANY, {"count": 100_000}) as rows:
            assert next(iter(rows))[0] == 1
        session.rollback()  # a cancelled statement ends its transaction
        assert session.scalar(text("SELECT 1")) == 1

    store.read_now(work)


def test_an_error_of_the_reader_ends_the_statement(store: Store) -> None:
    def work(session: Session) -> None:
        with streamed(session, MANY, {"count": 100_000}) as rows:
            for _ in rows:
                raise ValueError("of the reader")

    with pytest.raises(ValueError, match="of the reader"):
        store.read_now(work)
    assert store.read_now(numbers, 3) == [1, 2, 3]


def test_errors_of_the_database_are_those_of_sqlalchemy(store: Store) -> None:
    def refused(session: Session) -> None:
        with streamed(session, "SELECT nothing", {}) as rows:
            list(rows)

    def disconnected(session: Session) -> None:
        with streamed(session, "SELECT pg_terminate_backend(pg_backend_pid())", {}) as rows:
            list(rows)

    def error_of(work: Any) -> Any:
        with pytest.raises(StoreUnavailable) as caught:
            store.read_now(work)
        return caught.value.__cause__

    assert isinstance(error_of(refused), ProgrammingError)
    lost = error_of(disconnected)
    assert isinstance(lost, OperationalError)
    assert lost.connection_invalidated
    assert store.read_now(numbers, 3) == [1, 2, 3]
