"""Ids that the service makes: UUIDs of version 7 (RFC 9562), in the order of time."""

from __future__ import annotations

import re
import secrets
import threading
import time
import uuid

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_last_id = [0, 0]
_id_lock = threading.Lock()


def record_id(text: str) -> str:
    """Return an id that the service made in the form in which it is stored; other text as it is.

    Ids are UUIDs in lower case. .NET, Oracle and others write them in upper case.
    """
    return text.lower() if _UUID.fullmatch(text) else text


def new_id() -> str:
    """Generate a UUID version 7 (RFC 9562): sorted by time to the millisecond, and in this process by its order.

    A counter in the bits `rand_a` (section 6.2, method 1) tells the ids of one millisecond apart; the rest is random.
    """
    milliseconds = time.time_ns() // 1_000_000
    with _id_lock:
        if milliseconds > _last_id[0]:
            _last_id[:] = milliseconds, secrets.randbelow(0x800)
        elif _last_id[1] < 0xFFF:
            _last_id[1] += 1
        else:
            _last_id[:] = _last_id[0] + 1, 0
        milliseconds, counter = _last_id
    value = (milliseconds << 80) | (7 << 76) | (counter << 64) | (2 << 62) | secrets.randbits(62)
    return str(uuid.UUID(int=value))
