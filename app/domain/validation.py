"""Texts of a fixed form, and the messages about values that are refused, in the words of this service.

pydantic's own messages quote regular expressions and the class of an exception; a caller wants to know what to send.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AMOUNT_PATTERN = r"^(0|[1-9][0-9]{0,14})(\.[0-9]{1,4})?$"
CLERK_PATTERN = r"^[^\x00-\x1f\x7f]{1,64}$"
CURRENCY_PATTERN = r"^[A-Z]{3}$"
ENTITY_TAG_PATTERN = r'^(\*|"[!#-~]{1,64}")$'
HTTP_ADDRESS_PATTERN = r"^https?://"
IDEMPOTENCY_KEY_PATTERN = r"^[\x21-\x7e]+$"
INFERENCE_PATTERN = r"^(local|ray://[^\s,/@]+:\d+(,[^\s,/@]+:\d+)*)$"
NAME_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"
NUMBER_CURSOR_PATTERN = r"^[0-9]{1,18}$"
PANEL_PATTERN = r"^[A-Za-z0-9_-]{1,32}$"
PRINTABLE_PATTERN = r"^[^\x00-\x1f\x7f]*$"
"""Text without control characters, which PostgreSQL does not store."""
REGION_PATTERN = r"^(auto|whole|\d{1,5},\d{1,5},\d{1,5},\d{1,5})$"
VERSION_CURSOR_PATTERN = r"^[1-9][0-9]{0,8}$"

AMOUNT_EXPECTED = (
    "send an amount such as 2500 or 2500.50, with at most 15 digits before the point and 4 after it; in JSON, one "
    'with a fraction as text, "2500.50"'
)
_CURSOR_EXPECTED = "send the `next_cursor` of the previous page, or leave it out for the first page"
EXPECTED: dict[str, str] = {
    AMOUNT_PATTERN: AMOUNT_EXPECTED,
    CLERK_PATTERN: "send a name of 1 to 64 characters, without control characters",
    CURRENCY_PATTERN: "send a currency code of three capital letters (ISO 4217), such as EUR",
    ENTITY_TAG_PATTERN: 'send the `ETag` of the account in its quotation marks, such as "01a21a4a", or *',
    HTTP_ADDRESS_PATTERN: "set an address that begins with http:// or https://",
    IDEMPOTENCY_KEY_PATTERN: "send visible ASCII characters, without spaces, such as a UUID",
    INFERENCE_PATTERN: "set local, or ray://HOST:PORT with the addresses of the proxies, comma-separated",
    NAME_PATTERN: "send 1 to 64 letters, digits, dots, hyphens or underscores",
    NUMBER_CURSOR_PATTERN: _CURSOR_EXPECTED,
    PANEL_PATTERN: "send 1 to 32 letters, digits, hyphens or underscores, such as A",
    PRINTABLE_PATTERN: "send text without control characters",
    REGION_PATTERN: "send auto, whole, or left,top,right,bottom in pixels, such as 1040,520,1410,655",
    VERSION_CURSOR_PATTERN: _CURSOR_EXPECTED,
}
"""What to send, by the regular expression that the text has to match."""


def describe_fault(fault: Mapping[str, Any]) -> str:
    """Describe one fault of pydantic, in lower case and without a full stop where the message is ours."""
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if fault["type"] == "string_pattern_mismatch":
        return EXPECTED.get(fault["ctx"]["pattern"], "the text does not have the documented form")
    return str(fault["msg"])
