"""Hooks for schemathesis: generators of signature scans and signer ids, and validation of binary bodies."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis.generation.case import Case
from schemathesis.transport.serialization import Binary

from app.domain.caller_ids import account_id, signer_id
from model.synthetic.writer import Writer


def _scan(writer: int, n: int, kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(Writer(writer).genuine_image(n)).save(out, kind)
    return out.getvalue()


SCANS = [
    _scan(writer, n, kind)
    for n, (writer, kind) in enumerate(
        [(1, "PNG"), (1, "JPEG"), (1, "TIFF"), (2, "BMP"), (2, "WEBP"), (3, "PNG"), (3, "PNG"), (3, "PNG")]
    )
]

BOX = re.compile(r"^[0-9]{1,9},[0-9]{1,9},[0-9]{1,9},[0-9]{1,9}$")

# Files in forms are valid scans; test_fuzz sends invalid ones.
schemathesis.openapi.format("binary", st.sampled_from(SCANS).map(Binary))
# Files in JSON are base64.
schemathesis.openapi.format("byte", st.sampled_from(SCANS).map(lambda scan: base64.b64encode(scan).decode()))
schemathesis.openapi.format(
    "signer-id", st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20).map(signer_id)
)
schemathesis.openapi.format(
    "account-id", st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20).map(account_id)
)
# A cursor is valid for the listing that issued it; see `map_query`.
VALID_CURSOR = "valid"
schemathesis.openapi.format("cursor", st.just(VALID_CURSOR))


@schemathesis.hook
def map_query(context: schemathesis.HookContext, query: Any) -> Any:
    """Remove valid cursors: a schema cannot express which listing issued one."""
    if isinstance(query, dict) and query.get("cursor") == VALID_CURSOR:
        return {name: value for name, value in query.items() if name != "cursor"}
    return query


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Replace valid page numbers by 0, the only page of each scan. A schema cannot express the number of pages."""
    page = body.get("page") if isinstance(body, dict) else None
    if type(page) is int and 0 <= page < 10_000:  # not a bool, which the service must refuse
        body["page"] = 0
    if isinstance(body, dict) and "region" in body:
        body["region"] = _inside(body["region"])
    return body


def _inside(region: Any) -> Any:
    """Replace boxes by the whole image: a schema cannot express the size of the image."""
    if isinstance(region, list):
        if len(region) == 4 and all(type(side) in {int, float} and side >= 0 for side in region):
            return "whole"
        return [_inside(one) for one in region]
    return "whole" if isinstance(region, str) and BOX.match(region) else region


# When a link of the stateful phase puts a value into a body, schemathesis validates the body again. Its validator
# does not support bytes and rejects every body with a file. In the schema, a file is a string of any content.
_validate_component = Case._validate_component


def _validate_without_bytes(self: Case, location: Any, value: Any, validator_cls: Any) -> bool:
    return _validate_component(self, location, _bytes_as_text(value), validator_cls)


def _bytes_as_text(value: Any) -> Any:
    if isinstance(value, bytes | Binary):
        return "scan"
    if isinstance(value, dict):
        return {key: _bytes_as_text(item) for key, item in value.items()}
    return [_bytes_as_text(item) for item in value] if isinstance(value, list) else value


Case._validate_component = _validate_without_bytes  # type: ignore[method-assign]
