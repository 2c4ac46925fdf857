"""What schemathesis needs to know beyond the OpenAPI document: what a scan of a signature and a cursor look like."""

from __future__ import annotations

import base64
import io
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis.transport.serialization import Binary

from model.data.synthetic import Writer


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

# A file of the form data is a scan; bytes that are none are the business of test_fuzz.
schemathesis.openapi.format("binary", st.sampled_from(SCANS).map(Binary))
schemathesis.openapi.format(
    "cursor",
    st.text("abcdefghijkmnopqrstuvwxyz0123456789-", min_size=1, max_size=30).map(
        lambda after: base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")
    ),
)


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Mostly ask for a page that is there: how many a file has is in the file, beyond what a schema can say."""
    page = body.get("page") if isinstance(body, dict) else None
    if type(page) is int and 0 <= page < 10_000:  # not a bool, which the service has to refuse
        body["page"] = 0
    return body
