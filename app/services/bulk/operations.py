"""What a bulk job does with one row: the use cases of the service, and their results as columns."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from app.domain.records import Reference, Upload, Verification
from app.services.bulk.errors import RowRefused
from app.services.bulk.manifests import Row
from app.services.context import AppContext
from app.services.enrol import enrol
from app.services.extract import extract
from app.services.idempotency import make_idempotent_request
from app.services.verify import verify

Values = dict[str, Any]
Name = Literal["verify", "enrol", "extract"]
_TEXTS = pa.list_(pa.string())
_BOX = pa.list_(pa.int32())
_COMMON = [
    ("row", pa.int64()),
    ("id", pa.string()),
    ("signer_id", pa.string()),
    ("image", pa.string()),
    ("status", pa.string()),
    ("code", pa.string()),
    ("detail", pa.string()),
]


@dataclass(frozen=True)
class Operation:
    """One of the three operations.

    Attributes
    ----------
    schema : pyarrow.Schema
        Columns of the results.
    needs_signer : bool
    in_order : bool
        Whether rows of one signer are carried out one after the other, because later ones are compared with earlier
        ones.
    run : callable
        Carries out a row: (context, tenant, row, upload, idempotency key) to values of columns. It raises
        CountersignError.
    """

    name: Name
    schema: Any
    needs_signer: bool
    in_order: bool
    run: Callable[[AppContext, str, Row, Upload, str], Coroutine[Any, Any, Values]]


def operation(name: Name, *, crops: bool = False) -> Operation:
    """Return an operation; with `crops`, extraction also returns the signatures as images."""
    if name == "verify":
        return Operation(name, _schema(_VERIFIED), needs_signer=True, in_order=False, run=_verify)
    if name == "enrol":
        return Operation(name, _schema(_ENROLLED), needs_signer=True, in_order=True, run=_enrol)
    return Operation(
        name,
        _schema(_EXTRACTED),
        needs_signer=False,
        in_order=False,
        run=_extract_with_crops if crops else _extract,
    )


def _schema(columns: list[tuple[str, Any]]) -> Any:
    return pa.schema(_COMMON + columns)


_VERIFIED = [
    ("decision", pa.string()),
    ("distance", pa.float64()),
    ("threshold", pa.float64()),
    ("review_threshold", pa.float64()),
    ("log_likelihood_ratio", pa.float64()),
    ("far_skilled", pa.float64()),
    ("far_random", pa.float64()),
    ("frr", pa.float64()),
    ("region", _BOX),
    ("warnings", _TEXTS),
    ("verification_id", pa.string()),
    ("model_version", pa.string()),
]


async def _verify(context: AppContext, tenant_id: str, row: Row, upload: Upload, key: str) -> Values:
    signer_id = row.checked_signer()
    request = await make_idempotent_request(tenant_id, key, "verify", signer_id, [upload])
    return await verify(context, tenant_id, signer_id, upload, _verified, request)


def _verified(verification: Verification) -> Values:
    finding = verification.finding
    return {
        "decision": finding.decision,
        "distance": finding.distance,
        "threshold": finding.threshold,
        "review_threshold": finding.review_threshold,
        "log_likelihood_ratio": finding.log_likelihood_ratio,
        "far_skilled": finding.operating_point.far_skilled,
        "far_random": finding.operating_point.far_random,
        "frr": finding.operating_point.frr,
        "region": None if finding.region is None else list(finding.region),
        "warnings": [warning.code for warning in finding.warnings],
        "verification_id": verification.verification_id,
        "model_version": finding.model_version,
    }


_ENROLLED = [
    ("reference_id", pa.string()),
    ("sha256", pa.string()),
    ("warnings", _TEXTS),
    ("model_version", pa.string()),
]


async def _enrol(context: AppContext, tenant_id: str, row: Row, upload: Upload, key: str) -> Values:
    signer_id = row.checked_signer()
    request = await make_idempotent_request(tenant_id, key, "enrol", signer_id, [upload])
    return await enrol(context, tenant_id, signer_id, [upload], _enrolled, request)


def _enrolled(references: tuple[Reference, ...]) -> Values:
    (reference,) = references
    return {
        "reference_id": reference.reference_id,
        "sha256": reference.sha256,
        "warnings": [warning.code for warning in reference.warnings],
        "model_version": reference.model_version,
    }


_SIGNATURE = pa.struct([("region", _BOX), ("confidence", pa.float64()), ("image", pa.binary())])
_EXTRACTED = [("width", pa.int32()), ("height", pa.int32()), ("signatures", pa.list_(_SIGNATURE))]


async def _extract(context: AppContext, tenant_id: str, row: Row, upload: Upload, key: str) -> Values:
    values = await _extract_with_crops(context, tenant_id, row, upload, key)
    for signature in values["signatures"]:
        signature["image"] = None
    return values


async def _extract_with_crops(
    context: AppContext,
    tenant_id: str,  # noqa: ARG001 - nothing is stored but the audit entry, whose tenant is the caller's
    row: Row,
    upload: Upload,
    key: str,  # noqa: ARG001 - an extraction may be repeated
) -> Values:
    if row.region not in {"", "auto"}:
        raise RowRefused("malformed-row", "An extraction reads the whole page; leave `region` empty.")
    reading = await extract(context, upload)
    return {
        "width": reading.width,
        "height": reading.height,
        "signatures": [
            {"region": list(one.box), "confidence": one.confidence, "image": one.image}
            for one in reading.signatures
        ],
    }
