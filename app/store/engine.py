"""Opening the database: connection settings, migrations, and error reporting.

SQLite uses one file, readable by its owner only. A PostgreSQL database may be shared by several processes: the first
one migrates it under an advisory lock, and the others wait for that lock.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from app.domain.errors import InvalidSettings, StartRefused, StoreMissing, StoreOutdated

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 10.0
MIGRATION_LOCK = 0x_C0DE_516E
"""Number of the advisory lock that is held while a PostgreSQL database is migrated."""
_POSTGRES = {
    "connect_timeout": 5,
    "application_name": "countersign",
    "tcp_user_timeout": 10_000,  # ms; detects a server that has become unreachable
    "options": "-c lock_timeout=10s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s",
}


def open_engine(url: str, connections: int) -> Engine:
    """Open the database at `url`, migrate it, and check that it can be written.

    Raises
    ------
    StartRefused
        With a message of one line that states the fault.
    """
    with _start_refused_on_error(url, "opened and written") as parsed:
        if parsed.get_backend_name() == "sqlite":
            file = _sqlite_file(parsed)
            file.parent.mkdir(parents=True, exist_ok=True)
            if not str(file).startswith("file:"):
                file.touch(mode=0o600)  # a file that SQLite creates may be readable by others
        engine = _create_engine(parsed, connections)
        try:
            _upgrade(engine)
            _probe(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine


def open_existing_engine(url: str, connections: int) -> Engine:
    """Open the existing database at `url` for reading, without creating, migrating or writing anything.

    Raises
    ------
    StartRefused
        If the database cannot be opened.
    StoreMissing
        If it does not exist or has no tables.
    StoreOutdated
        If its schema belongs to another release.
    """
    with _start_refused_on_error(url, "opened") as parsed:
        shown = parsed.render_as_string(hide_password=True)
        if parsed.get_backend_name() == "sqlite" and not _sqlite_file(parsed).is_file():
            raise StoreMissing(f"there is no store at {shown} yet")
        engine = _create_engine(parsed, connections)
        try:
            with read_only(engine).connect() as connection:
                revision = MigrationContext.configure(connection).get_current_revision()
            _check_revision(revision, shown)
        except BaseException:
            engine.dispose()
            raise
        return engine


def _check_revision(revision: str | None, shown: str) -> None:
    """Raise StoreMissing or StoreOutdated unless the revision is the one of this release."""
    script = ScriptDirectory.from_config(_alembic_config())
    if revision is None:
        raise StoreMissing(f"the database {shown} contains no store yet")
    if revision not in {known.revision for known in script.walk_revisions()}:
        raise StoreOutdated(f"its schema is {revision}, which this release does not know", newer=True)
    if revision != script.get_current_head():
        raise StoreOutdated(f"its schema is {revision}, this release's is {script.get_current_head()}")


@contextmanager
def _start_refused_on_error(url: str, purpose: str) -> Iterator[URL]:
    """Parse the URL and turn database, driver and file errors of the block into StartRefused."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidSettings(
            "COUNTERSIGN_DATABASE_URL is not a database URL, such as sqlite:///var/store.db"
        ) from None
    shown = parsed.render_as_string(hide_password=True)
    try:
        yield parsed
    except (SQLAlchemyError, OSError, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StartRefused(f"The store {shown} cannot be {purpose}: {reason}.") from error
    except (NoSuchModuleError, ImportError) as error:
        raise StartRefused(f"The store {shown} needs a driver that is not installed: {error}.") from error


def _sqlite_file(url: URL) -> Path:
    """Return the file of an SQLite URL; raises StartRefused if the URL names no file."""
    if not url.database or url.database == ":memory:":
        raise InvalidSettings(
            "The store must be a file: an in-memory SQLite database loses every reference when the service stops."
        )
    return Path(url.database)


def read_only(engine: Engine) -> Engine:
    """Return the engine with options for read-only transactions, each of which sees one snapshot."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine.execution_options(writes=False)


_EXTRA_CONNECTIONS = 2
"""Connections for the threads of the gallery, in addition to those of the store's own threads."""


def _create_engine(url: URL, connections: int) -> Engine:
    return (_sqlite_engine if url.get_backend_name() == "sqlite" else _server_engine)(url, connections)


def _server_engine(url: URL, connections: int) -> Engine:
    options: dict[str, object] = {}
    if url.get_backend_name() in {"postgresql", "postgres"}:
        if url.drivername in {"postgresql", "postgres"}:
            url = url.set(drivername="postgresql+psycopg")
        options = {key: value for key, value in _POSTGRES.items() if key not in url.query}
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=_EXTRA_CONNECTIONS,
        pool_pre_ping=True,
        connect_args=options,
        # Set regardless of the server's default: an erasure that waited for a write must see what it wrote.
        isolation_level="READ COMMITTED",
        hide_parameters=True,  # errors in the log would otherwise contain images
    )


def _sqlite_engine(url: URL, connections: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=_EXTRA_CONNECTIONS,
        connect_args={"timeout": BUSY_TIMEOUT_S},
        hide_parameters=True,  # errors in the log would otherwise contain images
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # disables implicit BEGIN; see _begin
        cursor = connection.cursor()
        _use_write_ahead_log(cursor)
        cursor.execute("PRAGMA synchronous=FULL")  # a commit returns only after it is on disk
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")  # overwrite deleted bytes
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writing transaction takes the write lock when it begins: upgrading a read transaction later fails if
        # another transaction has written in between.
        mode = "IMMEDIATE" if connection.get_execution_options().get("writes", True) else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _use_write_ahead_log(cursor: sqlite3.Cursor) -> None:
    """Switch to the write-ahead log, retrying while the database is busy.

    SQLite fails immediately, without its busy timeout, if another process switches at the same time.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _upgrade(engine: Engine) -> None:
    config = _alembic_config()
    with engine.connect() as connection, _without_foreign_keys(connection), connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Switch off SQLite's foreign keys, outside of a transaction, where the switch has an effect.

    SQLite alters a table by copying it and dropping the old one, which would delete the rows that refer to it
    (https://sqlite.org/lang_altertable.html, section 7).
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]  # an open one
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


def _probe(engine: Engine) -> None:
    """Write and roll back, because a file on a read-only disk opens but fails at the first enrolment."""
    with engine.connect() as connection:
        transaction = connection.begin()
        connection.execute(text("INSERT INTO tenants (tenant_id, sequence) VALUES ('-probe-', 0)"))
        transaction.rollback()


def truncate_write_ahead_log(engine: Engine) -> bool:
    """Checkpoint and truncate SQLite's write-ahead log, which may still contain erased bytes.

    In the database file they are overwritten already (secure_delete). Returns False if readers kept the log in use;
    try again later. PostgreSQL has no equivalent: see :func:`compact`.
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
    """Rewrite the tables without deleted rows: SQLite's whole file, or PostgreSQL's tables one by one.

    The old PostgreSQL files are unlinked, not overwritten, and its write-ahead log keeps old pages until it is
    recycled. These copies become unreadable only when the key that they were encrypted with is retired.
    """
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()  # a SQLAlchemy connection would begin a transaction
        try:
            connection.cursor().execute("VACUUM")
        finally:
            connection.close()
        truncate_write_ahead_log(engine)
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as server:
        quoted = server.dialect.identifier_preparer.quote
        server.exec_driver_sql("SET statement_timeout = 0")
        server.exec_driver_sql("SET lock_timeout = 0")
        for table in tables:
            server.exec_driver_sql(f"VACUUM FULL {quoted(table)}")
        server.detach()  # the pool must not reuse a connection without timeouts
