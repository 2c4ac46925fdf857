"""``python -m app doctor``: checks an installation. Each fault is printed with the command that fixes it.

It changes nothing: no file is created and no table is migrated. Checks are in the order of their dependencies, slow
ones last: settings, secrets, weights and calibration, the deployment of the network, store and schema, stored values,
audit log.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shlex
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from app.domain.errors import CountersignError, StoreFolderMissing, StoreMissing, StoreOutdated
from app.services.audit.trail import Trail
from app.services.audit.verification import verify_store
from app.services.open_store import open_store_read_only
from app.settings import Settings, load_settings
from app.store import candidate_vectors, reencryption, templates
from app.store.candidate_vectors import PgvectorUnavailable
from app.store.encryption.data_keys import local_key_file
from app.store.erasure import tombstones
from app.store.reencryption import SEALED_COLUMNS
from app.store.store import Store
from model.errors import ModelError
from model.networks.card import Card

MIGRATE = "python -m app migrate"
PGVECTOR = "install pgvector on the database server, then python -m app index build"


@dataclass(frozen=True)
class Finding:
    """The result of one check; ``fix`` is the command or setting that fixes the fault, empty when there is none."""

    check: str
    what: str
    fix: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Check settings, secrets, weights, calibration, schema, all stored values and the audit log.

    Each fault is printed with the command that fixes it. The exit status is 1 when a fault is found.
    """
    faults = 0
    for finding in examine():
        faults += bool(finding.fix)
        if as_json:
            typer.echo(json.dumps(asdict(finding)))
        elif finding.fix:
            typer.echo(f"FAULT {finding.check}: {finding.what}\n      fix: {finding.fix}")
        else:
            typer.echo(f"ok    {finding.check}: {finding.what}")
    if faults:
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Yield all findings in order; checks that depend on something faulty are omitted."""
    try:
        settings = load_settings()
    except CountersignError as error:
        yield Finding("settings", str(error), "python -m app config --explain")
        return
    yield Finding("settings", "valid and consistent")
    yield from _check_secrets(settings)
    card = None
    for finding, loaded in _check_model(settings):
        card = loaded or card
        yield finding
    if settings.inference_addresses and card is not None:
        yield _check_inference(settings, card)
    try:
        store = open_store_read_only(settings)
    except CountersignError as error:
        yield Finding("store", str(error), _fix_for_store(error))
        return
    try:
        yield Finding("store", "can be read; the schema is of this release")
        yield from _check_stored_values(store, card)
        yield _check_candidate_index(store, settings)
        yield from _check_audit(store, settings)
    finally:
        store.close()


def _fix_for_store(error: CountersignError) -> str:
    if isinstance(error, StoreFolderMissing):
        return f"mkdir -p {shlex.quote(error.folder)}, or correct COUNTERSIGN_DATABASE_URL"
    if isinstance(error, StoreOutdated) and error.newer:
        return "install the release that wrote the store, or a later one"
    if isinstance(error, StoreMissing | StoreOutdated):
        return MIGRATE
    return "set COUNTERSIGN_DATABASE_URL and the encryption keys to their former values"


def _check_secrets(settings: Settings) -> Iterator[Finding]:
    configured = settings.encryption_keys is not None
    files = {
        "encryption key": None if configured else settings.encryption_key_file or local_key_file(settings),
        "audit key": settings.audit_key_file,
    }
    for name, file in files.items():
        if file is None:
            continue
        if file == local_key_file(settings) and not file.with_suffix("").exists():
            continue  # the key is created together with the store
        if not file.is_file():
            yield Finding(name, f"the file {file} does not exist", _fix_for_missing(name, file))
        elif stat.S_IMODE(file.stat().st_mode) & 0o077:
            yield Finding(name, f"{file} can be read by users other than its owner", f"chmod 600 {file}")
        else:
            yield Finding(name, f"{file}, readable by its owner only")
    if (
        not settings.chain_keys().knows(None)
        and settings.audit_key is None
        and settings.audit_key_file is None
    ):
        yield Finding(
            "audit key", "none: an attacker with write access to the database can rebuild the audit chain"
        )


def _fix_for_missing(name: str, file: Path) -> str:
    if name == "audit key":
        return f"python -m app audit new-key --file {shlex.quote(str(file))}"
    return f"restore {file} from its backup; for a new store: python -m app encryption new-key"


def _check_model(settings: Settings) -> Iterator[tuple[Finding, Card | None]]:
    # Imported here because PyTorch and SciPy take more than a second to load, which other commands need not wait for.
    from model.decision.calibration import Calibration  # noqa: PLC0415
    from model.networks.weights import load_card, load_network  # noqa: PLC0415

    folder = settings.weights
    restore = f"git checkout -- {folder}, or set COUNTERSIGN_WEIGHTS to a folder of released weights"
    try:
        card = load_card(folder)
        load_network(folder, card)
    except ModelError as error:
        yield Finding("weights", str(error), restore), None
        return
    yield Finding("weights", f"{card.version}, terms: {card.terms}"), card
    try:
        calibration = Calibration.load(folder, card.sha256)
    except ModelError as error:
        yield Finding("calibration", str(error), f"python -m model calibrate {folder}"), card
        return
    fitted = calibration.fitted_on
    yield Finding("calibration", f"{calibration.identifier}, fitted on {fitted.writers} writers"), card


def _check_inference(settings: Settings, card: Card) -> Finding:
    """Ask the deployment of the network for its weights."""
    if importlib.util.find_spec("httpx") is None:
        return Finding(
            "inference",
            "the extra `remote` is not installed",
            "pip install -e '.[remote]' -c constraints.txt",
        )
    from app.inference.remote import RemoteInference  # noqa: PLC0415 - an extra

    async def connect() -> None:
        remote = RemoteInference(settings.inference_addresses, card.version, card.dimension, 1, 0.0)
        await remote.connect()
        await remote.close()

    try:
        asyncio.run(connect())
    except CountersignError as error:
        return Finding("inference", str(error), "python -m app inference deploy")
    return Finding("inference", f"the deployment has {card.version}")


def _check_stored_values(store: Store, card: Card | None) -> Iterator[Finding]:
    used = store.read_now(reencryption.count_by_key)
    if missing := sorted(key_id for key_id in used if store.cipher.keys.get(key_id) is None):
        what = f"{sum(used[key_id] for key_id in missing)} values need missing key {', '.join(missing)}"
        yield Finding("encryption", what, "add the key to COUNTERSIGN_ENCRYPTION_KEYS or to the key file")
    for column in SEALED_COLUMNS:
        identities = store.read_now(reencryption.find_all, column)
        done, failed = _decrypt_all(store, column, identities)
        if failed:
            shown = "; ".join(failed[:3]) + (" …" if len(failed) > 3 else "")
            fix = "restore the rows from a backup, or erase the signers concerned and enrol them again"
            if column.kind == "template":
                fix = "python -m app reembed --repair"
            yield Finding(f"stored values: {column.kind}", f"{len(failed)} do not decrypt: {shown}", fix)
        else:
            yield Finding(f"stored values: {column.kind}", f"all {done} decrypt")
    if card is not None:
        yield _check_templates(store, card)
    log = store.erasure_log
    try:
        logged = log.read() if log is not None else []
    except OSError as error:
        yield Finding(
            "erasures",
            f"the erasure log cannot be read: {error}",
            "give the user of the service read and write access to it",
        )
        return
    if returned := store.read_now(tombstones.find_restored, logged):
        yield Finding(
            "erasures",
            f"{len(returned)} erased signers or references have returned",
            "python -m app erasures apply",
        )
    else:
        yield Finding("erasures", "no erased data have returned")


def _decrypt_all(
    store: Store, column: reencryption.SealedColumn, identities: Sequence[reencryption.Identity]
) -> tuple[int, list[str]]:
    done, failed = 0, []
    with typer.progressbar(length=len(identities), label=f"{column.kind:<10}", file=sys.stderr) as bar:
        for outcome in reencryption.check(store, column, identities):
            done += outcome.done
            failed += [f"{place.row_id}: {why}" for place, why in outcome.failed.items()]
            bar.update(outcome.done + len(outcome.failed))
    return done, failed


def _check_templates(store: Store, card: Card) -> Finding:
    def count_templates(session: Session) -> tuple[int, dict[str, int]]:
        return templates.count_lacking(session, card.version), templates.count_by_model(session)

    lacking, by_model = store.read_now(count_templates)
    others = ", ".join(f"{model}: {n}" for model, n in sorted(by_model.items()) if model != card.version)
    if lacking:
        what = f"{lacking} references have no template of {card.version} (others: {others or 'none'})"
        return Finding("model of the templates", what, "python -m app reembed")
    note = f"; others: {others}" if others else ""
    return Finding("model of the templates", f"every reference has one of {card.version}{note}")


def _check_candidate_index(store: Store, settings: Settings) -> Finding:
    found = store.read_now(candidate_vectors.state)
    name = "candidate index"
    if settings.candidate_index == "memory":
        if found.rows:
            what = f"the database holds {found.rows} vectors of signers in clear text, which are not used"
            return Finding(name, what, "python -m app index drop, when no replica uses them")
        return Finding(name, "in memory; nothing is stored in clear text")
    try:
        candidate_vectors.check_versions(found.installed, found.available)
    except PgvectorUnavailable as error:
        return Finding(name, f"the index in memory is used instead of pgvector: {error}", PGVECTOR)
    if not found.has_table:
        return Finding(name, "the table of vectors does not exist", "python -m app index build")
    return Finding(name, f"pgvector {found.installed}, {found.rows} vectors in clear text")


def _check_audit(store: Store, settings: Settings) -> Iterator[Finding]:
    report = store.read_now(verify_store, Trail(settings.chain_keys()).keys, [])
    if report.faults:
        first = report.faults[0]
        what = f"{len(report.faults)} faults, the first one in tenant {first.tenant_id}: {first.what}"
        yield Finding(
            "audit",
            what,
            "python -m app audit verify, and compare with a backup; a broken chain cannot be fixed",
        )
    else:
        yield Finding("audit", f"{sum(head.sequence for head in report.heads)} entries, intact")
