"""Keyless mode: accept only requests that were sent on this machine and on purpose.

While no key has ever been created, the service trusts its own machine. Three kinds of request have a loopback address
and are refused nevertheless:

- requests through a reverse proxy on the same machine: those with a proxy's headers, and HTTP/1.0 with a `Connection`
  header, as nginx sends it by default;
- requests of a web page of another origin in a browser on this machine: browsers set `Sec-Fetch-Site` and `Origin`;
- DNS rebinding, a foreign name that resolves to 127.0.0.1: the `Host` header has the foreign name.

A proxy that speaks HTTP/1.1 and adds no header cannot be recognised: behind a proxy, create keys (SECURITY.md). With
keys none of this matters, because neither browsers nor proxies add an `X-API-Key` header.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from app.domain.errors import Forbidden

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_REMEDY = "Create a key with `python -m app keys create`, and send it."


def refuse_unless_local(scope: Scope, names: Collection[str], origins: Collection[str] = ()) -> None:
    """Raise Forbidden unless a request comes from this machine and was meant for it.

    Parameters
    ----------
    scope : ASGI scope
    names : collection of str
        Names of this machine that the `Host` header may have in addition to the loopback names.
    origins : collection of str
        Origins of web pages that may send requests (`cors_origins`); ``*`` allows none here.
    """
    client = scope.get("client")
    if not is_loopback(client[0] if client else None):
        raise Forbidden(
            f"No API key has been created, so the service answers its own machine only. {_REMEDY}"
        )
    headers = Headers(scope=scope)
    old_proxy = scope.get("http_version") == "1.0" and "connection" in headers
    if any(name in headers for name in _FORWARDED) or old_proxy:
        raise Forbidden(
            f"The request came through a proxy, and no API key has been created: behind a proxy all requests "
            f"seem to come from this machine. {_REMEDY}"
        )
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _is_own_name(hosts[0], names):
        raise Forbidden(f"Without API keys, the Host header must name this machine. {_REMEDY}")
    origin = headers.get("origin")
    allowed = origin is not None and origin in origins
    from_own_page = headers.get("sec-fetch-site", "none") in {"none", "same-origin"}
    if not allowed and not (from_own_page and _is_own_origin(origin, hosts[0])):
        raise Forbidden(
            f"The request was sent by a web page of another origin, and no API key has been created. {_REMEDY}"
        )


def is_loopback(address: str | None) -> bool:
    """Whether an address is a loopback address; None is a Unix socket, which is always local."""
    if address is None:
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def _is_own_name(host: str, names: Collection[str]) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or name in names or is_loopback(name)


def _is_own_origin(origin: str | None, host: str) -> bool:
    return origin is None or origin.partition("://")[2].lower() == host.lower()
