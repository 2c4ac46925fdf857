"""What service and reading process say to each other: a JSON object and bytes, each with its length before it.

Nothing is pickled: what a process that decoded hostile bytes says is data, and is checked.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

_LENGTHS = struct.Struct(">II")
MAX_JSON = 1 << 20


def put(stream: BinaryIO, told: Mapping[str, Any], data: bytes = b"") -> None:
    """Send an object and bytes; raises OSError where nobody listens."""
    text = json.dumps(told).encode()
    stream.write(_LENGTHS.pack(len(text), len(data)) + text)
    stream.write(data)
    stream.flush()


def take(stream: BinaryIO, most: int) -> tuple[dict[str, Any], bytes]:
    """Wait for an object and at most so many bytes.

    Raises
    ------
    EOFError
        The other side is gone.
    ValueError
        It said something else.
    """
    json_length, length = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if json_length > MAX_JSON or length > most:
        raise ValueError(f"a frame of {json_length} and {length} bytes")
    told = json.loads(_exactly(stream, json_length))
    if not isinstance(told, dict):
        raise ValueError("a frame without an object")
    return told, _exactly(stream, length)


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
