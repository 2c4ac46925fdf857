"""From settings to a store that is open, up to date, encrypted throughout, and free of what was erased."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.domain.errors import StartRefused, StoreUnavailable
from app.services.audit.trail import Trail
from app.settings import Settings
from app.store import maintenance, reencryption
from app.store.encryption.cipher import Cipher
from app.store.encryption.data_keys import load_data_keys
from app.store.engine import engine_as_it_is
from app.store.erasure import tombstones
from app.store.erasure.log import ErasureLog
from app.store.store import Store

_log = logging.getLogger(__name__)


def open_store(settings: Settings) -> Store:
    """Open the store as it is configured; raise StartRefused with one line on what is wrong and what to do."""
    settings.refuse_missing_encryption_key()
    _refuse_no_place(settings.database_url)
    store = Store.open(
        settings.database_url,
        settings.store_threads,
        Cipher(load_data_keys(settings)),
        erasure_log(settings),
    )
    try:
        _bring_up_to_date(store, Trail(settings.chain_keys()))
    except BaseException as error:
        store.close()
        if isinstance(error, StoreUnavailable | OSError):
            raise StartRefused(f"The store cannot be brought up to date: {error}") from error
        raise
    return store


def open_store_read_only(settings: Settings) -> Store:
    """Open the store as it is: nothing is made, migrated, encrypted or erased again. To be read only.

    Raises
    ------
    StartRefused
        With one line on what is wrong; StoreMissing and StoreOutdated where a start would put it right.
    """
    settings.refuse_missing_encryption_key()
    engine = engine_as_it_is(settings.database_url, settings.store_threads)
    try:
        cipher = Cipher(load_data_keys(settings, make=False))
    except StartRefused:
        engine.dispose()
        raise
    return Store(engine, settings.store_threads, cipher, erasure_log(settings))


def _refuse_no_place(database_url: str) -> None:
    """Raise StartRefused when there is no place to store at, before a key is looked for or made beside it."""
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise StartRefused(
            "COUNTERSIGN_DATABASE_URL is not a database URL, such as sqlite:///var/store.db"
        ) from None
    if url.get_backend_name() == "sqlite" and url.database:
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartRefused(f"The store {database_url} cannot be opened and written: {error}.") from error


def erasure_log(settings: Settings) -> ErasureLog | None:
    """The log of erasures: as configured, else beside the SQLite file."""
    if settings.erasure_log is not None:
        return ErasureLog(settings.erasure_log)
    try:
        url = make_url(settings.database_url)
    except ArgumentError:
        return None
    if url.get_backend_name() == "sqlite" and url.database:
        return ErasureLog(Path(f"{url.database}.erasures"))
    return None


def _bring_up_to_date(store: Store, trail: Trail) -> None:
    keys = store.cipher.keys
    used = store.read_now(reencryption.count_by_key)
    missing = sorted(key_id for key_id in used if keys.get(key_id) is None)
    if missing and len(missing) == len(used):
        raise StartRefused(
            f"Everything in the store was encrypted with key {', '.join(missing)}, which is not configured: "
            "set COUNTERSIGN_ENCRYPTION_KEY_FILE or COUNTERSIGN_ENCRYPTION_KEYS to the keys that it was made with."
        )
    if missing:
        _log.error("some stored values need key %s, which is not configured", ", ".join(missing))
    maintenance.encrypt_plain(store)
    if store.erasure_log is None:
        _log.warning(
            "erasures are noted in the database only, and a restored backup forgets the younger ones: "
            "set COUNTERSIGN_ERASURE_LOG"
        )
    maintenance.ErasureWatch(store, trail.append_repeated_erasure).look()
    if lost := store.read_now(tombstones.unknown_keys):
        _log.warning("tombstones made with key %s cannot be applied: it is not configured", ", ".join(lost))
