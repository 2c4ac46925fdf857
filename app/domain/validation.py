"""Texts of a fixed form, and the messages about values that are refused, in the words of this service.

pydantic's own messages quote regular expressions and the class of an exception; a caller wants to know what to send.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core.core_schema import ErrorType

AMOUNT_PATTERN = r"^(0|[1-9][0-9]{0,14})(\.[0-9]{1,4})?$"
CLERK_PATTERN = r"^[^\x00-\x1f\x7f]{1,64}$"
CURRENCY_PATTERN = r"^[A-Z]{3}$"
ENTITY_TAG_PATTERN = r'^(\*|"[!#-~]{1,64}")$'
HTTP_ADDRESS_PATTERN = r"^https?://"
IDEMPOTENCY_KEY_PATTERN = r"^[\x21-\x7e]+$"
INFERENCE_PATTERN = r"^(local|ray://[^\s,/@]+:\d+(,[^\s,/@]+:\d+)*)$"
NAME_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"
PANEL_PATTERN = r"^[A-Za-z0-9_-]{1,32}$"
PRINTABLE_PATTERN = r"^[^\x00-\x1f\x7f]*$"
"""Text without control characters, which PostgreSQL does not store."""
REGION_PATTERN = r"^(auto|whole|[0-9]{1,9},[0-9]{1,9},[0-9]{1,9},[0-9]{1,9})$"

AMOUNT_EXPECTED = (
    "send an amount such as 2500 or 2500.50, with at most 15 digits before the point and 4 after it"
)
EXPECTED: dict[str, str] = {
    AMOUNT_PATTERN: AMOUNT_EXPECTED,
    CLERK_PATTERN: "send a name of 1 to 64 characters, without control characters",
    CURRENCY_PATTERN: "send a currency code of three capital letters (ISO 4217), such as EUR",
    ENTITY_TAG_PATTERN: 'send the `ETag` of the account in its quotation marks, such as "01a21a4a", or *',
    HTTP_ADDRESS_PATTERN: "set an address that begins with http:// or https://",
    IDEMPOTENCY_KEY_PATTERN: "send visible ASCII characters, without spaces, such as a UUID",
    INFERENCE_PATTERN: "set local, or ray://HOST:PORT with the addresses of the proxies, comma-separated",
    NAME_PATTERN: "send 1 to 64 letters, digits, dots, hyphens or underscores",
    PANEL_PATTERN: "send 1 to 32 letters, digits, hyphens or underscores, such as A",
    PRINTABLE_PATTERN: "send text without control characters",
    REGION_PATTERN: "send auto, whole, or left,top,right,bottom in pixels, whole numbers of up to 9 digits "
    "such as 1040,520,1410,655",
}
"""What to send, by the regular expression that the text has to match."""


_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_KINDS_OF_PYDANTIC = frozenset(get_args(ErrorType))
_OBJECT_TYPES = {"dict_type", "model_attributes_type", "model_type"}
_MESSAGES = {
    **dict.fromkeys(_OBJECT_TYPES, "send a JSON object"),
    "bool_parsing": "has to be true or false",
    "bool_type": "has to be true or false",
    "finite_number": "has to be a finite number",
    "float_parsing": "has to be a number",
    "float_type": "has to be a number",
    "int_from_float": "has to be a whole number",
    "int_parsing": "has to be a whole number",
    "int_parsing_size": "has too many digits",
    "int_type": "has to be a whole number",
    "list_type": "has to be an array",
    "literal_error": "has to be {expected}",
    "missing": "is missing",
    "multiple_of": "has to be a multiple of {multiple_of}",
    "string_too_long": "has too many characters; the maximum is {max_length}",
    "string_too_short": "has too few characters; the minimum is {min_length}",
    "string_type": "has to be text",
    "string_unicode": "contains half of a surrogate pair, which is no character",
    "too_long": "has too many items; the maximum is {max_length}",
    "too_short": "has too few items; the minimum is {min_length}",
    "tuple_type": "has to be an array",
    "union_tag_invalid": "send one of {expected_tags} as {discriminator}",
}
"""Messages by the type of the fault, formatted with its `ctx`."""
_LIMITS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "of at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "of at most"),
}
"""By the type of the fault: the item of its `ctx` with the limit of a number, and how the limit is put in words."""


_PARTS_OF_REQUESTS = frozenset({"body", "query", "path", "header"})


def check_digits(value: object) -> object:
    """Return a value. Raises ValueError for a text that is no integer of JSON: other signs, spaces, leading zeros."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise ValueError("has to be a whole number, in digits only and without leading zeros")
    return value


def describe_fault(fault: Mapping[str, Any], form: Any = None) -> str:
    """Describe one fault of pydantic, in lower case and without a full stop where the message is ours.

    Parameters
    ----------
    fault : mapping
        An item of `errors()`; a ``"body"`` at the beginning of its `loc` stands for the body of a request.
    form : type, optional
        The annotation that was validated against, to name the known members where one is not known.
    """
    kind, loc, context = fault["type"], tuple(fault["loc"]), fault.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return EXPECTED.get(context["pattern"], "the text does not have the documented form")
    if kind == "extra_forbidden":
        members = _members(form, loc[1:-1] if loc[0] == "body" else loc[:-1])
        return f"is not known; the members are {', '.join(sorted(members))}" if members else "is not known"
    if loc == ("body",) and kind in {"missing", *_OBJECT_TYPES}:
        return _describe_body(kind, form)
    if kind == "union_tag_not_found":
        discriminator = str(context["discriminator"])
        tags = _tags(form, discriminator.strip("'"))
        return f"send one of {', '.join(tags)} as {discriminator}"
    return _describe_value(fault)


def _describe_body(kind: str, form: Any) -> str:
    if kind in _OBJECT_TYPES:
        return "send a JSON object with the content type application/json"
    names = _required(form) or [f"one of {', '.join(_members(form, ()))}"]
    return f"is missing; send a JSON object with {', '.join(names)}"


def _describe_value(fault: Mapping[str, Any]) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return _describe_limit(context[name], words)
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(**context)
    # Messages of other kinds are ours: those of pydantic name its classes.
    return "has a value that is not accepted" if kind in _KINDS_OF_PYDANTIC else str(fault["msg"])


def _describe_limit(limit: object, words: str) -> str:
    if isinstance(limit, int):
        return f"has to be a whole number {words} {limit}"
    text = f"{limit:.12g}" if isinstance(limit, float | Decimal) else str(limit)
    return f"has to be a number {words} {text}"


def field_path(loc: Sequence[str | int], form: Any) -> list[str]:
    """Return where in a request a fault is, by the names of members.

    Parameters
    ----------
    loc : sequence
        The `loc` of a fault of pydantic. It begins with a part of the request, and contains the value of a
        discriminator, which is no member.
    form : type or None
        The annotation of the body.
    """
    start = 1 if loc and loc[0] in _PARTS_OF_REQUESTS else 0
    path = tuple(loc[start:])
    return [str(part) for part in (_without_tags(form, path) if loc[:1] == ("body",) else path)]


def _without_tags(form: Any, path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    if not path:
        return ()
    arguments = get_args(form)
    if get_origin(form) is Annotated:
        return _without_tags(arguments[0], path)
    if get_origin(form) in {Union, UnionType}:
        tagged = [one for one in arguments if _has_tag(one, path[0])]
        return _without_tags(tagged[0], path[1:]) if tagged else path
    inner: Any = None
    if isinstance(form, type) and issubclass(form, BaseModel):
        fields = {field.alias or name: field.annotation for name, field in form.model_fields.items()}
        inner = fields.get(str(path[0]))
    elif arguments:
        inner = arguments[0] if isinstance(path[0], int) else arguments[-1]
    return (path[0], *_without_tags(inner, path[1:]))


def without_consequences(faults: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the faults without those about the length of an array whose items have faults of their own.

    pydantic counts only the valid items.
    """
    faults = list(faults)
    places = [tuple(fault["loc"]) for fault in faults]
    return [
        fault
        for fault, place in zip(faults, places, strict=True)
        if fault["type"] != "too_short"
        or not any(len(other) > len(place) and other[: len(place)] == place for other in places)
    ]


def _members(form: Any, path: tuple[str | int, ...]) -> list[str]:
    """The names of the members of the object at a path in a form; empty where the form does not tell."""
    if isinstance(form, type) and issubclass(form, BaseModel):
        fields = {field.alias or name: field.annotation for name, field in form.model_fields.items()}
        if not path:
            return list(fields)
        return _members(fields.get(str(path[0])), path[1:])
    arguments = get_args(form)
    if get_origin(form) is Annotated:
        return _members(arguments[0], path)
    if get_origin(form) in {Union, UnionType}:
        # The value of the discriminator is a part of the path.
        found = (_members(one, path[1:]) for one in arguments if path and _has_tag(one, path[0]))
        return next(found, next(filter(None, (_members(one, path) for one in arguments)), []))
    if arguments and path:
        return _members(arguments[0] if isinstance(path[0], int) else arguments[-1], path[1:])
    return []


def _required(form: Any) -> list[str]:
    """The names of the members that an object has to have; empty where the form does not tell."""
    if get_origin(form) is Annotated:
        return _required(get_args(form)[0])
    if get_origin(form) in {Union, UnionType}:
        first, *others = (_required(one) for one in get_args(form))
        return [name for name in first if all(name in names for names in others)]
    if not (isinstance(form, type) and issubclass(form, BaseModel)):
        return []
    return [field.alias or name for name, field in form.model_fields.items() if field.is_required()]


def _tags(form: Any, discriminator: str) -> list[str]:
    """The values of the discriminator of a union of models, in quotation marks; empty where the form is none."""
    if get_origin(form) is Annotated:
        return _tags(get_args(form)[0], discriminator)
    models = [one for one in get_args(form) if isinstance(one, type) and issubclass(one, BaseModel)]
    fields = [model.model_fields.get(discriminator) for model in models]
    return [repr(tag) for field in fields if field is not None for tag in get_args(field.annotation)]


def _has_tag(form: Any, tag: str | int) -> bool:
    """Whether a form has a member with the tag as its only value."""
    if not (isinstance(form, type) and issubclass(form, BaseModel)):
        return False
    return any(get_args(field.annotation) == (tag,) for field in form.model_fields.values())
