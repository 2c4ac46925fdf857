"""Messages between the service and a worker process: a JSON object and bytes, preceded by both lengths.

Pickle is not used: a worker process that has decoded untrusted bytes may send anything, so its messages are plain
data, which the service checks.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

_LENGTHS = struct.Struct(">II")
MAX_JSON = 1 << 20
"""Maximum size of the JSON object in bytes."""


def write_frame(stream: BinaryIO, message: Mapping[str, Any], data: bytes = b"") -> None:
    """Send an object and bytes. Raises OSError when the other process has closed the pipe."""
    text = json.dumps(message).encode()
    stream.write(_LENGTHS.pack(len(text), len(data)) + text)
    stream.write(data)
    stream.flush()


def read_frame(stream: BinaryIO, max_data: int) -> tuple[dict[str, Any], bytes]:
    """Wait for an object and at most `max_data` bytes, and return them.

    Raises
    ------
    EOFError
        The other process has closed the pipe.
    ValueError
        The received bytes are not a frame, or exceed the limits.
    """
    json_length, data_length = _LENGTHS.unpack(_read_exactly(stream, _LENGTHS.size))
    if json_length > MAX_JSON or data_length > max_data:
        raise ValueError(f"a frame of {json_length} and {data_length} bytes exceeds the limits")
    message = json.loads(_read_exactly(stream, json_length))
    if not isinstance(message, dict):
        raise ValueError("a frame without a JSON object")
    return message, _read_exactly(stream, data_length)


def _read_exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
