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
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any, NoReturn, get_args, get_origin

from fastapi import Request, Response, params
from fastapi.routing import APIRoute
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.domain.errors import MalformedRequest

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
JSON = "application/json"


@dataclass(frozen=True)
class _Number:
    """A number of JSON that is no integer, as it was written: a float would have other digits."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Field:
    """A field of a form: whether it holds files, and whether it may come several times."""

    is_file: bool
    is_list: bool


class ImageRoute(APIRoute):
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
                isinstance(field.field_info, params.File), is_list(field.field_info.annotation)
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


class _ImageRequest(Request):
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
    try:
        content = json.loads(
            body, object_pairs_hook=_each_once, parse_float=_Number, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"The body is not JSON: {str(error).rstrip('.')}.") from None
    if not isinstance(content, dict):
        raise MalformedRequest("The body has to be a JSON object, with a member for each field.")
    return FormData(list(_items(content, fields)))


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"The body is not JSON: {name} is not a number of JSON; leave the member out.")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise MalformedRequest(f"The member {name!r} came several times; send it once.")
        found[name] = value
    return found


def _items(content: dict[str, Any], fields: dict[str, Field]) -> Iterator[tuple[str, UploadFile | str]]:
    for name, member in content.items():
        field = _known(name, fields)
        if member is None:
            continue
        if isinstance(member, list) != field.is_list:
            wanted = "an array" if field.is_list else "a single value, not an array"
            raise MalformedRequest(f"The member {name!r} has to be {wanted}.")
        for value in member if field.is_list else [member]:
            if field.is_file and isinstance(value, str):
                yield name, _decoded(name, value)
            elif field.is_file:
                raise MalformedRequest(f"The member {name!r} has to be an image in base64, as a string.")
            elif isinstance(value, str) or (isinstance(value, int | _Number) and not isinstance(value, bool)):
                yield name, str(value)
            else:
                raise MalformedRequest(f"The member {name!r} has to be a string or a number.")


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
