"""Vectors of signers in PostgreSQL, for the candidates of an identification (extension pgvector).

The table has one row for each signer and model: the mean of the reduced vectors of the signer's references, at half
precision and **in clear text**, because the database has to compare it. It is empty unless
``COUNTERSIGN_CANDIDATE_INDEX`` is ``pgvector``.

Triggers delete the rows of a signer in the transaction that inserts or deletes a reference or deletes a template; a
foreign key deletes those of an erased signer. Both apply to every process and command. A process that uses the index
inserts the new row before the transaction ends (:class:`Writer`); rows that are missing because another process
changed the signer are inserted later (:func:`lacking`).

A tenant with many signers has a graph of near neighbours (HNSW) of its own, a partial index, so that other tenants
influence neither its results nor its recall. The rows of other tenants are compared one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    Engine,
    MetaData,
    String,
    Table,
    bindparam,
    cast,
    exists,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.types import UserDefinedType

from app.domain.records import Vector
from app.store import references
from app.store.tables import ChangeRow, ReferenceRow, SignerRow

NAME = "candidate_vectors"
OLDEST = (0, 8)
"""The first release of pgvector with iterative index scans."""
CONNECTIVITY = 16
"""Neighbours of a vector in a graph; twice as many in its lowest layer."""
EXPANSION_ADD = 64
"""Vectors that are considered as neighbours of a new one."""
EXPANSION_SEARCH = 4
"""Vectors that a search keeps, as a multiple of the number that it returns."""
MOST_EXPANDED = 1000
"""Largest value of ``hnsw.ef_search``."""
_BYTES_BESIDE_VECTOR = 600
"""Memory for each vector while a graph is built, in addition to the vector."""
_BUILD_LOCK = 0x_C0DE_516F
_GRAPH_PREFIX = "ix_candidate_vectors_graph_"

_TABLE = f"""
CREATE TABLE IF NOT EXISTS {NAME} (
    signer_key varchar(36) NOT NULL REFERENCES signers (key) ON DELETE CASCADE,
    model_version varchar(128) NOT NULL,
    tenant_id varchar(128) NOT NULL,
    vector halfvec NOT NULL,
    PRIMARY KEY (signer_key, model_version)
);;
ALTER TABLE {NAME} ALTER COLUMN vector SET STORAGE PLAIN;;
CREATE INDEX IF NOT EXISTS ix_{NAME}_tenant ON {NAME} (tenant_id, model_version);;
CREATE OR REPLACE FUNCTION {NAME}_forget_signer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE changed text := CASE WHEN TG_OP = 'DELETE' THEN OLD.signer_key ELSE NEW.signer_key END;
BEGIN
    -- A transaction that is computing a vector of this signer ends first, and the next statement sees its row.
    PERFORM 1 FROM signers WHERE key = changed FOR NO KEY UPDATE;
    DELETE FROM {NAME} WHERE signer_key = changed;
    RETURN NULL;
END $$;;
CREATE OR REPLACE FUNCTION {NAME}_forget_template() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {NAME} v USING "references" r WHERE r.reference_id = OLD.reference_id
        AND v.signer_key = r.signer_key AND v.model_version = OLD.model_version;
    RETURN NULL;
END $$;;
CREATE OR REPLACE TRIGGER {NAME}_references AFTER INSERT OR DELETE ON "references"
    FOR EACH ROW EXECUTE FUNCTION {NAME}_forget_signer();;
CREATE OR REPLACE TRIGGER {NAME}_templates AFTER DELETE ON templates
    FOR EACH ROW EXECUTE FUNCTION {NAME}_forget_template();;
"""  # noqa: S608 # nosec B608 - constants

Matrix = NDArray[np.float32]
Reduce = Callable[[NDArray[np.floating]], Matrix]
_log = logging.getLogger(__name__)


class PgvectorUnavailable(Exception):
    """The table of vectors cannot be created in this database; the message states the reason and a remedy."""


class HalfVector(UserDefinedType[Any]):
    """pgvector's type ``halfvec``; values are arrays (dimension,)."""

    cache_ok = True

    def __init__(self, dimension: int | None = None) -> None:
        self.dimension = dimension

    def get_col_spec(self, **_: Any) -> str:
        """Return the type in SQL."""
        return "halfvec" if self.dimension is None else f"halfvec({self.dimension})"

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str]:  # noqa: ARG002
        """Return the conversion of an array to pgvector's text."""
        return lambda values: f"[{','.join(map('{:.5g}'.format, np.asarray(values).tolist()))}]"


_VECTORS = Table(
    NAME,
    MetaData(),
    Column("signer_key", String(36), primary_key=True),
    Column("model_version", String(128), primary_key=True),
    Column("tenant_id", String(128)),
    Column("vector", HalfVector()),
)


@dataclass(frozen=True)
class State:
    """The state of pgvector and of the table in this database.

    Attributes
    ----------
    installed, available : str
        Version of pgvector in this database, and of the one that could be installed; empty when there is none.
    has_table : bool
    rows : int
    """

    installed: str
    available: str
    has_table: bool
    rows: int


class Writer:
    """Inserts the vector of a changed signer in the transaction of the change.

    Parameters
    ----------
    model_version : str
    reduce : callable
        :meth:`model.networks.embedder.Embedder.candidate_vectors`.
    """

    def __init__(self, model_version: str, reduce: Reduce) -> None:
        self.model_version = model_version
        self._reduce = reduce

    def renew(self, session: Session, tenant_id: str, signer_key: str) -> bool:
        """Insert the signer's vector if it is missing; return whether the signer has one now.

        A signer who has been erased, has no references, or has one without a readable template of the model gets
        none.
        """
        locked = select(SignerRow.key).where(SignerRow.key == signer_key).with_for_update(key_share=True)
        if session.scalar(locked) is None:
            return False
        if session.scalar(select(_VECTORS.c.signer_key).where(_is_of(signer_key, self.model_version))):
            return True
        found = references.for_index(session, tenant_id, self.model_version, [signer_key])
        if not found or found[0].templates is None:
            return False
        vector = self._reduce(found[0].templates).mean(axis=0)
        row = {"signer_key": signer_key, "model_version": self.model_version, "tenant_id": tenant_id}
        session.execute(insert(_VECTORS), [row | {"vector": vector}])
        return True


def create(connection: Connection) -> str:
    """Install pgvector and create the table, in a transaction; return the version of pgvector.

    Nothing is changed where they exist already.

    Raises
    ------
    PgvectorUnavailable
        The database is not PostgreSQL, pgvector is missing or too old, or may not be installed by this user.
    """
    if connection.dialect.name != "postgresql":
        raise PgvectorUnavailable("it needs PostgreSQL")
    installed, available = _versions(connection)
    version = check_versions(installed, available)
    try:
        with connection.begin_nested():
            if not installed:
                connection.exec_driver_sql("CREATE EXTENSION vector")
            for statement in _TABLE.split(";;\n"):
                if statement.strip():
                    connection.exec_driver_sql(statement)
    except DBAPIError as error:
        reason = str(error.orig).splitlines()[0]
        raise PgvectorUnavailable(
            f"{reason}; let a superuser CREATE EXTENSION vector in this database"
        ) from error
    return version


def check_versions(installed: str, available: str) -> str:
    """Return the version of pgvector that is used (:class:`State`). Raises PgvectorUnavailable."""
    if not installed and not available:
        raise PgvectorUnavailable(
            "pgvector is not installed on the database server; install its package, such as postgresql-17-pgvector"
        )
    version = installed or available
    if _numbers(version) < OLDEST:
        raise PgvectorUnavailable(
            f"pgvector {version} is too old: {'.'.join(map(str, OLDEST))} is needed; install a newer package"
            + (", then ALTER EXTENSION vector UPDATE" if installed else "")
        )
    return version


def open_table(engine: Engine) -> str:
    """Create the table if the migration could not, and return the version of pgvector. Raises PgvectorUnavailable."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            installed, _ = _versions(connection)
            if _has_table(connection) and _numbers(installed) >= OLDEST:
                return installed
    with engine.begin() as connection:
        return create(connection)


def state(session: Session) -> State:
    """Return the state of the database; on SQLite, that of a database without pgvector."""
    connection = session.connection()
    if connection.dialect.name != "postgresql":
        return State("", "", has_table=False, rows=0)
    installed, available = _versions(connection)
    has_table = _has_table(connection)
    rows = session.scalar(select(func.count()).select_from(_VECTORS)) if has_table else 0
    return State(installed, available, has_table, rows or 0)


def nearest(session: Session, tenant_id: str, model_version: str, vector: Vector, count: int) -> list[str]:
    """Return the keys of about `count` signers of a tenant near a reduced vector (c,), best first."""
    expansion = min(MOST_EXPANDED, EXPANSION_SEARCH * count)
    # The scan continues past vectors of erased signers, which stay in the graph until the next VACUUM.
    session.execute(
        select(
            func.set_config("hnsw.ef_search", str(expansion), True),
            func.set_config("hnsw.iterative_scan", "relaxed_order", True),
        )
    )
    kind = HalfVector(len(vector))
    distance = cast(_VECTORS.c.vector, kind).op("<->")(cast(bindparam("near", vector, HalfVector()), kind))
    # Tenant and model are literals, so that the planner can choose the partial index.
    query = (
        select(_VECTORS.c.signer_key)
        .where(
            _VECTORS.c.tenant_id == bindparam("tenant", tenant_id, String, literal_execute=True),
            _VECTORS.c.model_version == bindparam("model", model_version, String, literal_execute=True),
        )
        .order_by(distance)
        .limit(count)
    )
    return list(session.scalars(query))


def lacking(session: Session, tenant_id: str, model_version: str, seen: int, limit: int) -> list[str]:
    """Return keys of signers who have references and no vector, among those changed since a value of the counter."""
    query = select(ChangeRow.signer_key).where(
        ChangeRow.tenant_id == tenant_id,
        ChangeRow.sequence > seen,
        _lacks_vector(ChangeRow.signer_key, model_version),
    )
    return list(session.scalars(query.limit(limit)))


def lacking_after(session: Session, model_version: str, after: str, limit: int) -> list[tuple[str, str]]:
    """Return tenants and keys of signers who have references and no vector, ordered by key, after a key."""
    rows = session.execute(
        select(SignerRow.tenant_id, SignerRow.key)
        .where(SignerRow.key > after, _lacks_vector(SignerRow.key, model_version))
        .order_by(SignerRow.key)
        .limit(limit)
    )
    return [(row.tenant_id, row.key) for row in rows]


def count(session: Session, tenant_id: str, model_version: str) -> tuple[int, int]:
    """Count the signers of a tenant who have a vector, and those who have references and none."""
    present = session.scalar(
        select(func.count())
        .select_from(_VECTORS)
        .where(_VECTORS.c.tenant_id == tenant_id, _VECTORS.c.model_version == model_version)
    )
    signers = session.scalar(
        select(func.count()).select_from(SignerRow).where(SignerRow.tenant_id == tenant_id)
    )
    if present == signers:
        return present or 0, 0
    without = session.scalar(
        select(func.count())
        .select_from(SignerRow)
        .where(SignerRow.tenant_id == tenant_id, _lacks_vector(SignerRow.key, model_version))
    )
    return present or 0, without or 0


def build_graphs(engine: Engine, more_than: int, memory_mb: int) -> list[str]:
    """Build the graph of each tenant and model with more than some number of vectors, where there is none.

    Graphs that no vector uses any more, or whose construction was interrupted, are dropped. The table can be written
    meanwhile. When another process is building, nothing is done.

    Parameters
    ----------
    memory_mb : int
        MiB of memory that the database may use; a graph that does not fit takes several times as long.

    Returns
    -------
    list of str
        Tenants whose graph was built.
    """
    built = []
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as server:
        server.exec_driver_sql("SET statement_timeout = 0")
        server.exec_driver_sql("SET lock_timeout = 0")
        if not server.scalar(select(func.pg_try_advisory_lock(_BUILD_LOCK))):
            return []
        try:
            wanted = {graph_name(*row[:2]): row for row in server.execute(_used())}
            present = _graphs(server)
            for name, is_valid in present.items():
                if not is_valid or name not in wanted:
                    server.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            for name, (tenant_id, model_version, rows) in wanted.items():
                if rows > more_than and not present.get(name, False):
                    _build(server, name, tenant_id, model_version, rows, memory_mb)
                    built.append(tenant_id)
        finally:
            server.execute(select(func.pg_advisory_unlock(_BUILD_LOCK)))
            server.detach()  # the pool must not reuse a connection without timeouts
    return built


def graph_name(tenant_id: str, model_version: str) -> str:
    """Return the name of the partial index of a tenant and model."""
    return _GRAPH_PREFIX + sha256(f"{tenant_id}\0{model_version}".encode()).hexdigest()[:24]


def clear(engine: Engine) -> int:
    """Delete all vectors of all models and tenants, with their files; return their number."""
    with engine.begin() as connection:
        if not _has_table(connection):
            return 0
        removed = connection.scalar(select(func.count()).select_from(_VECTORS)) or 0
        connection.exec_driver_sql(f"TRUNCATE {NAME}")
        for name in _graphs(connection):
            connection.exec_driver_sql(f"DROP INDEX {name}")
    return removed


_GRAPHS = f"""
SELECT c.relname, i.indisvalid FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass('{NAME}') AND starts_with(c.relname, '{_GRAPH_PREFIX}')
"""  # noqa: S608 # nosec B608 - constants


def _graphs(connection: Connection) -> dict[str, bool]:
    """Return the names of the existing graphs, and whether each is complete."""
    return {row.relname: row.indisvalid for row in connection.execute(text(_GRAPHS))}


def _used() -> Any:
    pairs = (_VECTORS.c.tenant_id, _VECTORS.c.model_version)
    return select(*pairs, func.count()).group_by(*pairs)


def _build(
    server: Connection, name: str, tenant_id: str, model_version: str, rows: int, memory_mb: int
) -> None:
    is_of = (_VECTORS.c.tenant_id == tenant_id, _VECTORS.c.model_version == model_version)
    dimension = server.scalar(select(func.vector_dims(_VECTORS.c.vector)).where(*is_of).limit(1))
    needed_mb = 64 + rows * (2 * int(dimension or 0) + _BYTES_BESIDE_VECTOR) // 2**20
    server.exec_driver_sql(f"SET maintenance_work_mem = '{min(memory_mb, needed_mb)}MB'")
    _log.info("building the graph of %d vectors of tenant %s", rows, tenant_id)
    server.exec_driver_sql(
        f"CREATE INDEX CONCURRENTLY {name} ON {NAME} "
        f"USING hnsw ((vector::halfvec({int(dimension or 0)})) halfvec_l2_ops) "
        f"WITH (m = {CONNECTIVITY}, ef_construction = {EXPANSION_ADD}) "
        f"WHERE tenant_id = {_literal(tenant_id)} AND model_version = {_literal(model_version)}"
    )


def _is_of(signer_key: Any, model_version: str) -> Any:
    return (_VECTORS.c.signer_key == signer_key) & (_VECTORS.c.model_version == model_version)


def _lacks_vector(signer_key: Any, model_version: str) -> Any:
    """Return the condition that a signer has references and no vector."""
    has_references = exists().where(ReferenceRow.signer_key == signer_key)
    return ~exists().where(_is_of(signer_key, model_version)) & has_references


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _has_table(connection: Connection) -> bool:
    return connection.scalar(select(func.to_regclass(NAME))) is not None


def _versions(connection: Connection) -> tuple[str, str]:
    installed = connection.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    available = connection.scalar(
        text("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
    )
    return installed or "", available or ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
