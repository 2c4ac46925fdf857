"""Opening the database: connection rules for SQLite, migrations, and one clear error when it cannot be had."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import StartRefused

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 10.0


def open_engine(url: str, connections: int) -> Engine:
    """Open the database at `url`, bring its tables up to date, and see that it can be written.

    Raises
    ------
    StartRefused
        With one line on what is wrong and what to do.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StartRefused(
            "COUNTERSIGN_DATABASE_URL is not a database URL, such as sqlite:///var/store.db"
        ) from None
    shown = parsed.render_as_string(hide_password=True)
    try:
        if parsed.get_backend_name() == "sqlite":
            engine = _open_sqlite(parsed.database, url, connections)
        else:
            engine = create_engine(url, pool_size=connections, max_overflow=0, pool_pre_ping=True)
        _upgrade(engine)
        _probe(engine)
    except (SQLAlchemyError, OSError, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StartRefused(f"The store {shown} cannot be opened and written: {reason}.") from error
    except (NoSuchModuleError, ImportError) as error:
        raise StartRefused(f"The store {shown} needs a driver that is not installed: {error}.") from error
    return engine


def _open_sqlite(database: str | None, url: str, connections: int) -> Engine:
    if not database or database == ":memory:":
        raise StartRefused("The store must be a file: an SQLite database in memory loses every reference.")
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url, pool_size=connections, max_overflow=0, connect_args={"timeout": BUSY_TIMEOUT_S}
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # BEGIN is ours to say, below
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # a commit returns when it is on disk, not before
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")  # erased bytes are overwritten
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that will write takes the write lock at once: turning a reader into a writer later
        # fails when another one wrote in between.
        mode = "IMMEDIATE" if connection.get_execution_options().get("writes", True) else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _upgrade(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _probe(engine: Engine) -> None:
    """Write and roll back: a file on a read-only disk opens well and fails at the first enrolment."""
    with engine.connect() as connection:
        transaction = connection.begin()
        connection.execute(text("INSERT INTO tenants (tenant_id, sequence) VALUES ('-probe-', 0)"))
        transaction.rollback()


def forget_erased(engine: Engine) -> None:
    """Fold SQLite's write-ahead log into the file and cut it, so that erased bytes do not live on in it."""
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()
