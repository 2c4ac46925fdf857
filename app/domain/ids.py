"""Ids that the service makes: UUIDs of version 7 (RFC 9562), in the order of time."""

from __future__ import annotations

import re
import secrets
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MAX_MILLISECONDS = 2**48 - 1
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
    return _id(milliseconds, counter, secrets.randbits(62))


def first_id_at(moment: datetime, shift: timedelta = timedelta()) -> str:
    """Return the smallest id of a millisecond: it sorts after all ids of earlier ones.

    Parameters
    ----------
    moment : datetime
        With a time zone. Times before 1970 and after 10889 have the first and the last of all ids.
    shift : timedelta
        Added to `moment`, also where the sum is not a `datetime`.
    """
    milliseconds = (moment - _EPOCH + shift) // _MILLISECOND
    return _id(min(max(milliseconds, 0), _MAX_MILLISECONDS), 0, 0)


def _id(milliseconds: int, counter: int, random: int) -> str:
    return str(uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (counter << 64) | (2 << 62) | random))
