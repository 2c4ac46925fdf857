"""What a database's errors mean to a caller: gone, full, busy; its own words go to the log, not over the wire."""

from __future__ import annotations

import logging

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.domain.errors import StoreUnavailable

_log = logging.getLogger(__name__)
_LOST_RACES = {"40001", "40P01"}  # serialization failure, deadlock: PostgreSQL took it all back
_UNCONFIRMED = {"SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"}
_FULL = ("full", "disk i/o error", "no space", "file too large", "could not extend", "disk quota")
_BUSY = ("locked", "busy", "lock timeout", "statement timeout")


def repeatable(error: SQLAlchemyError) -> bool:
    """Whether the database took the transaction back for another one's sake: it can run again at once."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _LOST_RACES


def unsure(error: SQLAlchemyError) -> bool:
    """Whether a commit that failed so may have stored everything all the same.

    Of a commit that the database refuses nothing remains. Where the connection broke, or SQLite could not have the
    disk confirm what it had written, it may be there.
    """
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or getattr(error.orig, "sqlite_errorname", "") in _UNCONFIRMED


def unavailable(error: Exception) -> StoreUnavailable:
    """The error to tell a caller, from one of SQLAlchemy's or the driver's, after which nothing is stored."""
    words = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    _log.error("the store failed: %s", words.partition("\n")[0] or type(error).__name__)
    return StoreUnavailable(
        f"The store cannot be used at the moment: {_reason(error, words.lower())}; nothing was stored. Try again."
    )


def _reason(error: Exception, words: str) -> str:
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    if state == "53100" or any(word in words for word in _FULL):
        return "its disk is full or failing"
    if isinstance(error, PoolTimeout) or state == "55P03" or any(word in words for word in _BUSY):
        return "it is busy"
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return "the connection was lost"
    if state.startswith(("08", "57")) or "connect" in words:
        return "the database cannot be reached"
    return "it reports a fault"
