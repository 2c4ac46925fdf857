"""Opening the database: connection rules, migrations, and one clear error when it cannot be had.

SQLite lies in a file of its own, readable by its owner alone. PostgreSQL is shared by as many processes as there are:
the first one to come migrates, behind an advisory lock, and the others wait for it.
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

from app.domain.errors import StartRefused, StoreMissing, StoreOutdated

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
    with _refusing(url, "opened and written") as parsed:
        if parsed.get_backend_name() == "sqlite":
            file = _sqlite_file(parsed)
            file.parent.mkdir(parents=True, exist_ok=True)
            if not str(file).startswith("file:"):
                file.touch(mode=0o600)  # what SQLite makes itself, others may read
        engine = _connected(parsed, connections)
        try:
            _upgrade(engine)
            _probe(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine


def engine_as_it_is(url: str, connections: int) -> Engine:
    """Open the database at `url` to look at it: nothing is made, migrated or written.

    Raises
    ------
    StartRefused
        It cannot be opened.
    StoreMissing, StoreOutdated
        There is none yet, or its tables are of another release.
    """
    with _refusing(url, "opened") as parsed:
        shown = parsed.render_as_string(hide_password=True)
        if parsed.get_backend_name() == "sqlite" and not _sqlite_file(parsed).is_file():
            raise StoreMissing(f"there is no store at {shown} yet")
        engine = _connected(parsed, connections)
        try:
            with reading(engine).connect() as connection:
                found = MigrationContext.configure(connection).get_current_revision()
            _refuse_other_release(found, shown)
        except BaseException:
            engine.dispose()
            raise
        return engine


def _refuse_other_release(found: str | None, shown: str) -> None:
    script = ScriptDirectory.from_config(_alembic())
    if found is None:
        raise StoreMissing(f"the database {shown} holds no store yet")
    if found not in {revision.revision for revision in script.walk_revisions()}:
        raise StoreOutdated(f"its schema is {found}, which this release does not know", newer=True)
    if found != script.get_current_head():
        raise StoreOutdated(f"its schema is {found}, this release's is {script.get_current_head()}")


@contextmanager
def _refusing(url: str, wanted: str) -> Iterator[URL]:
    """The URL's parts; what goes wrong with them becomes StartRefused."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StartRefused(
            "COUNTERSIGN_DATABASE_URL is not a database URL, such as sqlite:///var/store.db"
        ) from None
    shown = parsed.render_as_string(hide_password=True)
    try:
        yield parsed
    except (SQLAlchemyError, OSError, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StartRefused(f"The store {shown} cannot be {wanted}: {reason}.") from error
    except (NoSuchModuleError, ImportError) as error:
        raise StartRefused(f"The store {shown} needs a driver that is not installed: {error}.") from error


def _sqlite_file(url: URL) -> Path:
    """The file of an SQLite URL; raises StartRefused where it names none."""
    if not url.database or url.database == ":memory:":
        raise StartRefused("The store must be a file: an SQLite database in memory loses every reference.")
    return Path(url.database)


def reading(engine: Engine) -> Engine:
    """The same database for transactions that only read, each of which sees one moment."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine.execution_options(writes=False)


_SPARE = 2
"""Connections beyond those of the store's own threads: for the threads of the gallery."""


def _connected(url: URL, connections: int) -> Engine:
    return (_sqlite if url.get_backend_name() == "sqlite" else _server)(url, connections)


def _server(url: URL, connections: int) -> Engine:
    options: dict[str, object] = {}
    if url.get_backend_name() in {"postgresql", "postgres"}:
        if url.drivername in {"postgresql", "postgres"}:
            url = url.set(drivername="postgresql+psycopg")
        options = {key: value for key, value in _POSTGRES.items() if key not in url.query}
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=_SPARE,
        pool_pre_ping=True,
        connect_args=options,
        # Whatever the server's default is: an erasure that waited for a write has to see what it wrote.
        isolation_level="READ COMMITTED",
        hide_parameters=True,  # or errors in the log would hold images
    )


def _sqlite(url: URL, connections: int) -> Engine:
    engine = create_engine(
        url,
        pool_size=connections,
        max_overflow=_SPARE,
        connect_args={"timeout": BUSY_TIMEOUT_S},
        hide_parameters=True,  # or errors in the log would hold images
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # BEGIN is ours to say, below
        cursor = connection.cursor()
        _use_write_ahead_log(cursor)
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


def _use_write_ahead_log(cursor: sqlite3.Cursor) -> None:
    """Switch to the write-ahead log, also where others do so now: there SQLite refuses instead of waiting."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _upgrade(engine: Engine) -> None:
    config = _alembic()
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
