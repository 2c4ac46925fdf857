"""Open the store from the settings: migrate it, and repeat erasures that a backup undid."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.domain.errors import InvalidSettings, StartRefused, StoreFolderMissing, StoreUnavailable
from app.services.audit.trail import Trail
from app.settings import Settings
from app.store import maintenance, reencryption
from app.store.encryption.cipher import Cipher
from app.store.encryption.data_keys import load_data_keys
from app.store.engine import open_existing_engine
from app.store.erasure import tombstones
from app.store.erasure.log import ErasureLog
from app.store.index_snapshots import IndexSnapshots
from app.store.store import Store

DEFAULT_URL = Settings.model_fields["database_url"].default
SUPPORTED = ("sqlite", "postgresql", "postgres")
_log = logging.getLogger(__name__)


def open_store(settings: Settings) -> Store:
    """Open the configured store and bring it up to date; raise StartRefused with the fault and its remedy."""
    _check_location(settings.database_url)
    settings.refuse_missing_encryption_key()
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
    """Open the store for reading only, without creating, migrating, encrypting or erasing anything.

    Raises
    ------
    StartRefused
        StoreMissing or StoreOutdated when starting the service would fix it.
    """
    _refuse_missing_folder(settings.database_url)
    settings.refuse_missing_encryption_key()
    engine = open_existing_engine(settings.database_url, settings.store_threads)
    try:
        cipher = Cipher(load_data_keys(settings, make=False))
    except StartRefused:
        engine.dispose()
        raise
    return Store(engine, settings.store_threads, cipher, erasure_log(settings))


def _check_location(database_url: str) -> None:
    """Raise StartRefused unless the folder of a SQLite database exists, before a key file is created in it.

    Only the default folder is created: a misspelt path would make an empty store beside the one with the references.
    """
    if database_url == DEFAULT_URL:
        try:
            Path(make_url(database_url).database or "").parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartRefused(f"The store {database_url} cannot be opened for writing: {error}.") from error
    _refuse_missing_folder(database_url)


def _refuse_missing_folder(database_url: str) -> None:
    """Raise InvalidSettings if the URL is none or names a database that is not supported.

    Raise StoreFolderMissing if an SQLite file cannot be created there.
    """
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise InvalidSettings(
            "COUNTERSIGN_DATABASE_URL is not a database URL, such as sqlite:///var/store.db"
        ) from None
    if url.get_backend_name() not in SUPPORTED:
        raise InvalidSettings(
            f"COUNTERSIGN_DATABASE_URL names the database {url.get_backend_name()!r}, which is not supported; set "
            "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE."
        )
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return
    folder = Path(url.database).parent
    if database_url != DEFAULT_URL and not folder.is_dir():
        hint = (
            ""
            if folder.is_absolute()
            else " A path after three slashes is relative to the working directory."
        )
        raise StoreFolderMissing(
            f"The folder {folder.absolute()} of the store does not exist: create it, or correct "
            f"COUNTERSIGN_DATABASE_URL={database_url}.{hint}",
            str(folder.absolute()),
        )


def open_snapshots(settings: Settings, store: Store, model_version: str) -> IndexSnapshots | None:
    """Return the folder of candidate indexes next to the SQLite file; None when they stay in memory."""
    url = make_url(settings.database_url)
    if settings.index_files == "none" or url.get_backend_name() != "sqlite" or not url.database:
        return None
    return IndexSnapshots(Path(f"{url.database}.indexes"), store.cipher.keys, model_version)


def erasure_log(settings: Settings) -> ErasureLog | None:
    """Return the configured erasure log, or the one next to the SQLite file; None for other databases."""
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
    counts = store.read_now(reencryption.count_by_key)
    missing = sorted(key_id for key_id in counts if keys.get(key_id) is None)
    if missing and len(missing) == len(counts):
        raise InvalidSettings(
            f"All stored values were encrypted with key {', '.join(missing)}, which is not configured. "
            "Set COUNTERSIGN_ENCRYPTION_KEY_FILE or COUNTERSIGN_ENCRYPTION_KEYS to the keys of this store."
        )
    if missing:
        _log.error(
            "some stored values were encrypted with key %s, which is not configured", ", ".join(missing)
        )
    if store.erasure_log is None:
        _log.warning(
            "erasures are recorded in the database only, so restoring a backup undoes those made since the backup; "
            "set COUNTERSIGN_ERASURE_LOG"
        )
    maintenance.ErasureWatch(store, trail.erased_again).synchronize()
    if unknown := store.read_now(tombstones.unknown_keys):
        _log.warning(
            "tombstones made with key %s cannot be applied because it is not configured", ", ".join(unknown)
        )
