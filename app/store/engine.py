"""Opening the database: connection rules, migrations, and one clear error when it cannot be had.

SQLite lies in a file of its own, readable by its owner alone. PostgreSQL is shared by as many processes as there are:
the first one to come migrates, behind an advisory lock, and the others wait for it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import StartRefused

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 10.0
MIGRATION_LOCK = 0x_C0DE_516E
"""Number of the advisory lock under which a PostgreSQL database is migrated."""
_POSTGRES = {
    "connect_timeout": 5,
    "application_name": "countersign",
    "tcp_user_timeout": 10_000,  # ms; a database that vanished is noticed
    "options": "-c lock_timeout=10s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s",
}


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
            engine = _open_server(parsed, connections)
        _upgrade(engine)
        _probe(engine)
    except (SQLAlchemyError, OSError, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StartRefused(f"The store {shown} cannot be opened and written: {reason}.") from error
    except (NoSuchModuleError, ImportError) as error:
        raise StartRefused(f"The store {shown} needs a driver that is not installed: {error}.") from error
    return engine


def reading(engine: Engine) -> Engine:
    """The same database for transactions that only read, each of which sees one moment."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine.execution_options(writes=False)


def _open_server(url: URL, connections: int) -> Engine:
    options: dict[str, object] = {}
    if url.get_backend_name() in {"postgresql", "postgres"}:
        if url.drivername in {"postgresql", "postgres"}:
            url = url.set(drivername="postgresql+psycopg")
        options = {key: value for key, value in _POSTGRES.items() if key not in url.query}
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args=options,
        hide_parameters=True,  # or errors in the log would hold images
    )


def _open_sqlite(database: str | None, url: str, connections: int) -> Engine:
    if not database or database == ":memory:":
        raise StartRefused("The store must be a file: an SQLite database in memory loses every reference.")
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    if not database.startswith("file:"):
        Path(database).touch(mode=0o600)  # what SQLite makes itself, others may read
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": BUSY_TIMEOUT_S},
        hide_parameters=True,  # or errors in the log would hold images
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
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _probe(engine: Engine) -> None:
    """Write and roll back: a file on a read-only disk opens well and fails at the first enrolment."""
    with engine.connect() as connection:
        transaction = connection.begin()
        connection.execute(text("INSERT INTO tenants (tenant_id, sequence) VALUES ('-probe-', 0)"))
        transaction.rollback()


def forget_erased(engine: Engine) -> bool:
    """See to it that erased bytes do not live on in SQLite's write-ahead log: fold it into the file and cut it.

    In the file itself they are overwritten already (secure_delete). False when readers kept the log in use all
    the time; try again later. PostgreSQL has no such means: see `compact`.
    """
    if engine.dialect.name != "sqlite":
        return True
    connection = engine.raw_connection()
    try:
        busy = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        connection.close()
    return not busy


def compact(engine: Engine, tables: tuple[str, ...]) -> None:
    """Write the tables anew without what was erased: SQLite's whole file, PostgreSQL's tables one by one.

    The old PostgreSQL files are unlinked, not overwritten, and its write-ahead log keeps old pages until it is
    recycled: what makes those unreadable is retiring the key that they were encrypted with.
    """
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()  # SQLAlchemy's would begin a transaction
        try:
            connection.cursor().execute("VACUUM")
        finally:
            connection.close()
        forget_erased(engine)
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as server:
        quoted = server.dialect.identifier_preparer.quote
        server.exec_driver_sql("SET statement_timeout = 0")
        server.exec_driver_sql("SET lock_timeout = 0")
        for table in tables:
            server.exec_driver_sql(f"VACUUM FULL {quoted(table)}")
        server.detach()  # the next one to use a connection gets one with its limits
