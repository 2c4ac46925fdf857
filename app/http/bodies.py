"""Bodies with images: a form with files, a form with data URIs, or JSON with base64; one endpoint takes all of them.

An endpoint declares its form fields as usual. :class:`ImageRoute` reads the body of a request, whatever its content
type, into that form, so that limits, validation, errors and results are the same for each. Where FastAPI would take
the last of several values or name its own classes in an error, the caller learns what was sent and what to send.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import copy
import io
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Annotated, Any, get_args, get_origin

from fastapi import Request, Response, params
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.domain.errors import MalformedRequest
from app.domain.exact_numbers import ExactNumber
from app.http.json_bodies import JsonRequest, JsonRoute, read_json

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
JSON = "application/json"


@dataclass(frozen=True)
class AsArray:
    """Marks a text field of numbers with commas that JSON may also send as an array of whole numbers.

    Attributes
    ----------
    length : int
        How many numbers there are.
    example : tuple of int
        For messages.
    """

    length: int
    example: tuple[int, ...]


@dataclass(frozen=True)
class Field:
    """A field of a form.

    Attributes
    ----------
    is_file : bool
    is_list : bool
        Whether it may come several times.
    is_boolean : bool
    as_array : AsArray or None
    """

    is_file: bool
    is_list: bool
    is_boolean: bool = False
    as_array: AsArray | None = None

    @property
    def expected(self) -> str:
        """What a value of it has to be in JSON."""
        if self.is_file:
            return "an image in base64, as a string"
        if self.is_boolean:
            return "true or false"
        if self.as_array is not None:
            numbers = list(self.as_array.example)
            return f"text, or an array of {self.as_array.length} whole numbers such as {numbers}"
        return "a string or a number"


class ImageRoute(JsonRoute):
    """A route with a form of images, whose body may also be JSON with images in base64."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Build the handler; part of FastAPI's documented way to replace the request class of a route."""
        handle = super().get_route_handler()
        fields = self.fields()
        if not fields:
            return handle

        async def handle_any_body(request: Request) -> Response:
            return await handle(_ImageRequest(request, fields))

        return handle_any_body

    def fields(self) -> dict[str, Field]:
        """The form fields of the endpoint by name; empty where it has none."""
        return {
            field.alias: Field(
                isinstance(field.field_info, params.File),
                is_list(field.field_info.annotation),
                field.field_info.annotation is bool,
                _array_of(field.field_info.metadata, field.field_info.annotation),
            )
            for field in self.dependant.body_params
            if isinstance(field.field_info, params.Form)
        }

    def document(self, form_schema: dict[str, Any]) -> dict[str, Any]:
        """The schema of the JSON body, from that of the form."""
        schema = copy.deepcopy(form_schema)
        schema.pop("title", None)
        for name, field in self.fields().items():
            if field.is_file:
                own = schema["properties"][name]
                own = own.get("items", own)
                own.pop("contentMediaType", None)
                own["format"] = "byte"
            elif field.as_array is not None:
                _describe_array(schema["properties"][name], field)
        return schema


class _WholeForm(MultiPartParser):
    """A parser that refuses a body without the closing boundary; Starlette's ignores the part that was cut off."""

    _has_ended = False

    def on_end(self) -> None:
        """Note that the closing boundary was read."""
        self._has_ended = True

    async def parse(self) -> FormData:
        """Parse the whole body. Raises MalformedRequest."""
        try:
            form = await super().parse()
        except MultiPartException as error:
            raise MalformedRequest(f"The form cannot be read: {error.message}") from None
        if not self._has_ended:
            raise MalformedRequest(
                "The form is cut off: its closing boundary is missing. Send the whole form; nothing of it was used."
            )
        return form


class _ImageRequest(JsonRequest):
    """A request whose form is read from any of the content types that are taken."""

    def __init__(self, request: Request, fields: dict[str, Field]) -> None:
        super().__init__(request.scope, request.receive)
        self._fields = fields

    async def form(self, **limits: Any) -> FormData:  # type: ignore[override]  # FastAPI awaits it, and nobody else calls it
        """The form; raises MalformedRequest."""
        header = Message()
        header["content-type"] = self.headers.get("content-type", "")
        kind = header.get_content_type() if header["content-type"] else ""
        if kind == JSON:
            # Decoding megabytes of base64 would hold up the event loop.
            return await asyncio.to_thread(_from_json, await self.body(), self._fields)
        if kind not in FORMS:
            raise MalformedRequest(
                f"The body is {kind or 'of no content type'}; send multipart/form-data with image files, as "
                "`curl -F` does, or application/json with images in base64."
            )
        # A data URI is a text field, as large as an image.
        limits["max_part_size"] = self.app.state.settings.max_request_bytes
        if kind == "multipart/form-data" and self._form is None:
            self._form = await _WholeForm(self.headers, self.stream(), **limits).parse()
        return await _checked(await super().form(**limits), self._fields)


async def _checked(form: FormData, fields: dict[str, Field]) -> FormData:
    """The form with data URIs in place of files read; raises MalformedRequest."""
    items: list[tuple[str, UploadFile | str]] = []
    for name, value in form.multi_items():
        field = _known(name, fields)
        if not field.is_list and (count := len(form.getlist(name))) > 1:
            raise MalformedRequest(f"The field {name!r} came {count} times; send it once.")
        if field.is_file and isinstance(value, str):
            if not _is_data_uri(value.lstrip()):
                raise MalformedRequest(
                    f"The field {name!r} holds text where an image belongs. Send a file with its file name (`curl -F "
                    f'{name}=@signature.png`; in the part\'s header, filename="signature.png"), or a data URI '
                    "(data:image/png;base64,...)."
                )
            items.append((name, await asyncio.to_thread(_decoded, name, value)))
        else:
            items.append((name, value))
    return FormData(items)


def _from_json(body: bytes, fields: dict[str, Field]) -> FormData:
    """The form that a JSON object stands for; raises MalformedRequest."""
    content = read_json(body)
    if not isinstance(content, dict):
        raise MalformedRequest("The body has to be a JSON object, with a member for each field.")
    return FormData(list(_items(content, fields)))


def _items(content: dict[str, Any], fields: dict[str, Field]) -> Iterator[tuple[str, UploadFile | str]]:
    for name, member in content.items():
        field = _known(name, fields)
        if member is None:
            continue
        if field.is_list and not isinstance(member, list):
            raise MalformedRequest(f"The member {name!r} has to be an array.")
        if isinstance(member, list) and not field.is_list and field.as_array is None:
            raise MalformedRequest(f"The member {name!r} has to be a single value, not an array.")
        for value in member if field.is_list else [member]:
            if field.is_file and isinstance(value, str):
                yield name, _decoded(name, value)
            elif (text := _text(value, field)) is not None:
                yield name, text
            elif field.is_list:
                raise MalformedRequest(f"Each item of {name!r} has to be {field.expected}.")
            else:
                raise MalformedRequest(f"The member {name!r} has to be {field.expected}.")


def _text(value: Any, field: Field) -> str | None:
    """Return the text that a form would have for a value of JSON; None for a value that the field does not take."""
    if field.is_file:
        return None
    if isinstance(value, bool):
        return str(value).lower() if field.is_boolean else None
    if isinstance(value, str | int | ExactNumber):
        return str(value)
    if field.as_array is None or not isinstance(value, list) or len(value) != field.as_array.length:
        return None
    numbers = [_whole(item) for item in value]
    return None if None in numbers else ",".join(map(str, numbers))


def _whole(value: Any) -> int | None:
    """A whole number of JSON, which may be written as 40.0; None for other values."""
    if isinstance(value, ExactNumber) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _known(name: str, fields: dict[str, Field]) -> Field:
    """Return a field by its name; raise MalformedRequest, because a misspelt field would be ignored otherwise."""
    if name not in fields:
        raise MalformedRequest(f"There is no field {name!r}; the fields are {', '.join(sorted(fields))}.")
    return fields[name]


def _decoded(name: str, text: str) -> UploadFile:
    """The image of a data URI (RFC 2397) or of plain base64 (RFC 4648, section 4)."""
    text = text.strip()
    if _is_data_uri(text):
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise MalformedRequest(
                f"The data URI in {name!r} has to begin with data:image/png;base64, or the like; send it with "
                "`curl --form-string`, because `curl -F` cuts a value at the first semicolon."
            )
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedRequest(
            f"The field {name!r} is not base64: only A-Z, a-z, 0-9, + and / are taken, with = at the end."
        ) from None
    return UploadFile(io.BytesIO(data), size=len(data))


def _is_data_uri(text: str) -> bool:
    return text[:5].lower() == "data:"


def is_list(annotation: Any) -> bool:
    """Whether a parameter with this annotation takes several values."""
    return get_origin(annotation) is list or any(get_origin(part) is list for part in get_args(annotation))


def _array_of(metadata: list[Any], annotation: Any) -> AsArray | None:
    """The mark of a field, or of the items of a field of several values."""
    marks = [item for item in metadata if isinstance(item, AsArray)]
    for part in (annotation, *get_args(annotation)):
        for item in get_args(part) if get_origin(part) is list else ():
            if get_origin(item) is Annotated:
                marks += [mark for mark in get_args(item)[1:] if isinstance(mark, AsArray)]
    return marks[0] if marks else None


def _describe_array(schema: dict[str, Any], field: Field) -> None:
    """Add the array to the schema of a text field, or to that of its items."""
    assert field.as_array is not None  # noqa: S101 - the caller looked  # nosec B101
    if field.is_list:
        # Nullable: the array is one of two alternatives.
        schema = next(one for one in schema.get("anyOf", [schema]) if "items" in one)["items"]
    text = {key: schema.pop(key) for key in ("type", "pattern") if key in schema}
    length = field.as_array.length
    numbers = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
        "minItems": length,
        "maxItems": length,
    }
    schema["anyOf"] = [text, numbers]
