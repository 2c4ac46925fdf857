"""Rows with large values, processed while PostgreSQL still sends the next ones.

SQLAlchemy gets a whole result before it returns the first row, and in PostgreSQL's text format, in which bytes are
twice as long. For the templates of hundreds of signers, the database and the service would each wait for the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

ROWS_AT_ONCE = 16
"""Rows that are received together, about as many templates as fit in the buffer of a socket."""
_DIALECT = PGDialect_psycopg()  # type: ignore[no-untyped-call]


def is_streaming(session: Session) -> bool:
    """Whether the database of a session can send rows one after the other."""
    return session.get_bind().dialect.driver == "psycopg"


def compiled(query: Any) -> str:
    """Return a query as text for :func:`streamed`, with the names of its parameters."""
    return str(query.compile(dialect=_DIALECT))


@contextmanager
def streamed(
    session: Session, statement: str, parameters: Mapping[str, object]
) -> Iterator[Iterable[tuple[Any, ...]]]:
    """Yield the rows of a statement as tuples, in the session's transaction.

    No other statement can run in the session inside of the ``with`` statement. A statement whose rows were not all
    read is cancelled at its end.

    Raises
    ------
    DBAPIError
        Also while rows are read.
    """
    session.flush()
    connection = session.connection()
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 # nosec B101 - see is_streaming
    size = ROWS_AT_ONCE if psycopg.capabilities.has_stream_chunked() else 1
    with driver.cursor() as cursor:
        rows = cursor.stream(statement, dict(parameters), binary=True, size=size)
        try:
            yield rows
        except psycopg.Error as error:
            raise _translated(connection, cursor, statement, error) from error
        finally:
            rows.close()  # type: ignore[attr-defined]  # a generator


def _translated(connection: Connection, cursor: object, statement: str, error: psycopg.Error) -> DBAPIError:
    """Return the error that SQLAlchemy raises for one of the driver, without parameters."""
    is_disconnect = connection.dialect.is_disconnect(error, connection.connection.dbapi_connection, cursor)  # type: ignore[arg-type]
    translated = DBAPIError.instance(
        statement,
        None,
        error,
        psycopg.Error,
        hide_parameters=True,
        connection_invalidated=is_disconnect,
        dialect=connection.dialect,
    )
    if is_disconnect:
        connection.invalidate(error)
    assert isinstance(translated, DBAPIError)  # noqa: S101 # nosec B101 - of an error of the driver
    return translated
