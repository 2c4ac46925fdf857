"""Sessions of clerks at the desk: a signed cookie, so that any replica can check it without a table.

The cookie names the API key by its digest, and every request looks the key up: a session ends when its key expires or
is revoked. It also ends when no request has come for a while, after `MAX_S`, and when the clerk signs out. The
secrets are derived from the encryption keys of the store, which all replicas share.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import Scope

from app.domain.request_context import prefix

COOKIE = "countersign_desk"
DESK = "/desk"
SIGN_IN = f"{DESK}/sign-in"
MAX_S = 12 * 3600
"""Seconds after which a clerk has to sign in again in any case."""


def is_at_desk(path: str) -> bool:
    """Whether a path, without a proxy's prefix, belongs to the desk."""
    return path == DESK or path.startswith(f"{DESK}/")


@dataclass(frozen=True)
class ClerkSession:
    """A clerk who has signed in.

    Attributes
    ----------
    clerk : str
        The name that was given.
    key_sha256 : str or None
        Of the API key; None while no key exists.
    csrf : str
        Forms have to send it back: a page of another origin does not know it.
    began : int
        Unix time in seconds.
    """

    clerk: str
    key_sha256: str | None
    csrf: str
    began: int

    @classmethod
    def new(cls, clerk: str, key_sha256: str | None) -> ClerkSession:
        """Begin a session."""
        return cls(clerk, key_sha256, secrets.token_urlsafe(24), int(time.time()))


class Sessions:
    """Writes and reads the cookies.

    Parameters
    ----------
    idle_s : int
        Seconds without a request after which a session ends.
    secrets_of : callable
        Returns the secrets, the newest last; it signs, the others still verify.
    """

    def __init__(self, idle_s: int, secrets_of: Callable[[], Sequence[str]]) -> None:
        self._idle_s = idle_s
        self._secrets_of = secrets_of
        self._ended: dict[str, float] = {}

    def read(self, scope: Scope) -> ClerkSession | None:
        """Return the session of a request; None when there is none, or it has ended."""
        for name, value in scope["headers"]:
            text = cookie_parser(value.decode("latin-1")).get(COOKIE) if name == b"cookie" else None
            if text is not None:
                return self._open(text)
        return None

    def keep(self, session: ClerkSession, scope: Scope, response: Response) -> None:
        """Add the cookie to a response of the desk."""
        text = self._serializer().dumps(asdict(session))
        response.set_cookie(
            COOKIE,
            text if isinstance(text, str) else text.decode(),
            path=f"{prefix()}{DESK}",
            secure=scope["scheme"] == "https",
            httponly=True,
            samesite="strict",
        )

    def end(self, session: ClerkSession, response: Response) -> None:
        """End a session: the browser forgets its cookie, and this process refuses copies of it."""
        time_s = time.time()
        self._ended = {csrf: until for csrf, until in self._ended.items() if until > time_s}
        self._ended[session.csrf] = time_s + self._idle_s
        response.delete_cookie(COOKIE, path=f"{prefix()}{DESK}")

    def _open(self, text: str) -> ClerkSession | None:
        try:
            session = ClerkSession(**self._serializer().loads(text, max_age=self._idle_s))
        except (BadData, TypeError):
            return None
        ended = session.csrf in self._ended or time.time() - session.began > MAX_S
        return None if ended else session

    def _serializer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(list(self._secrets_of()), salt="countersign desk")
