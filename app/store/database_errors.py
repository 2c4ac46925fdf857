"""Classification of database errors for callers; the database's own messages are logged, not sent in responses."""

from __future__ import annotations

import logging

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.domain.errors import StoreUnavailable

_log = logging.getLogger(__name__)
_LOST_RACES = {
    "40001",
    "40P01",
}  # serialization failure, deadlock: PostgreSQL has rolled back the transaction
_UNCONFIRMED = {"SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"}
_FULL = ("full", "disk i/o error", "no space", "file too large", "could not extend", "disk quota")
_BUSY = ("locked", "busy", "lock timeout", "statement timeout")


def repeatable(error: SQLAlchemyError) -> bool:
    """Whether the transaction lost a race with another one, was rolled back, and can be retried immediately."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _LOST_RACES


def is_commit_uncertain(error: SQLAlchemyError) -> bool:
    """Whether a commit that failed with this error may have taken effect.

    A commit that the database rejects stores nothing. The outcome is unknown if the connection broke, or if SQLite
    wrote the transaction but could not sync it to disk.
    """
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or getattr(error.orig, "sqlite_errorname", "") in _UNCONFIRMED


def store_unavailable(error: Exception) -> StoreUnavailable:
    """Log an error of SQLAlchemy or the driver after which nothing is stored, and return the one for the caller."""
    message = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    _log.error("the store failed: %s", message.partition("\n")[0] or type(error).__name__)
    return StoreUnavailable(
        f"The store cannot be used at the moment: {_reason(error, message.lower())}; nothing was stored. Try again."
    )


def _reason(error: Exception, message: str) -> str:
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    if state == "53100" or any(text in message for text in _FULL):
        return "its disk is full or failing"
    if isinstance(error, PoolTimeout) or state == "55P03" or any(text in message for text in _BUSY):
        return "it is busy"
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return "the connection was lost"
    if state.startswith(("08", "57")) or "connect" in message:
        return "the database cannot be reached"
    return "the database reports an error"
