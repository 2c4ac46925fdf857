"""JSON bodies, read more strictly than the framework does, with messages in the words of this service.

Of several members with one name, the framework takes the last; here they are refused, because the caller meant one of
them at most. Numbers keep the digits that were sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.domain.errors import MalformedRequest
from app.domain.exact_numbers import ExactNumber

LONGEST_NUMBER = 400
"""Characters of a number; the largest number that a float can hold has 309 digits."""
_IN_EVENT_LOOP = 65_536
"""Bytes of a body that is read on the event loop; larger ones would hold up other requests."""
_SYNTAX = {
    "Expecting value": "a value is expected",
    "Expecting property name enclosed in double quotes": "a name in double quotation marks is expected",
    "Expecting ':' delimiter": "a colon is expected",
    "Expecting ',' delimiter": "a comma or the closing bracket is expected",
    "Illegal trailing comma before end of object": "there is a comma after the last member",
    "Illegal trailing comma before end of array": "there is a comma after the last item",
    "Extra data": "something follows the end of the value",
    "Unterminated string starting at": "a text begins that has no closing quotation mark",
    "Invalid control character at": "a text contains a control character; write a line feed as \\n",
    "Invalid \\escape": "a text contains a backslash that begins no escape sequence; write \\\\ for a backslash",
    "Invalid \\uXXXX escape": "a text contains \\u without four hexadecimal digits",
}
"""What is wrong, by the message of Python's reader."""


class JsonRoute(APIRoute):
    """A route whose JSON body is read by :func:`read_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Build the handler; part of FastAPI's documented way to replace the request class of a route."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            if not isinstance(request, JsonRequest):
                request = JsonRequest(request.scope, request.receive)
            return await handle(request)

        return handle_json


class JsonRequest(Request):
    """A request whose JSON body is read by :func:`read_json`."""

    async def json(self) -> Any:
        """The value of the body; raises MalformedRequest."""
        body = await self.body()
        return read_json(body) if len(body) <= _IN_EVENT_LOOP else await asyncio.to_thread(read_json, body)


def read_json(body: bytes) -> Any:
    """Return the value of a JSON text; numbers with a fraction or an exponent are `ExactNumber`.

    Raises
    ------
    MalformedRequest
        The text is not JSON, an object has two members of one name, a number has more than :data:`LONGEST_NUMBER`
        characters, or arrays and objects are nested too deeply.
    """
    try:
        return json.loads(
            body,
            object_pairs_hook=_each_once,
            parse_float=lambda text: ExactNumber(_bounded(text)),
            parse_int=lambda text: int(_bounded(text)),
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        what = _SYNTAX.get(error.msg, "the syntax is not that of JSON")
        raise MalformedRequest(
            f"The body is not JSON: in line {error.lineno}, column {error.colno}, {what}."
        ) from None
    except UnicodeDecodeError:
        raise MalformedRequest("The body is not JSON: it is not UTF-8; encode it as UTF-8.") from None
    except RecursionError:
        raise MalformedRequest(
            "Arrays and objects of the body are nested too deeply; /docs has the form of the body."
        ) from None


def _bounded(text: str) -> str:
    if len(text) > LONGEST_NUMBER:
        raise MalformedRequest(
            f"A number of the body has {len(text)} characters; numbers may have at most {LONGEST_NUMBER}."
        )
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"The body is not JSON: {name} is not a number of JSON; leave the member out.")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise MalformedRequest(f"The member {name!r} came several times; send it once.")
        found[name] = value
    return found
