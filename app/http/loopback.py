"""Without keys: is a request really from this machine, and meant?

While no key was ever made the service trusts whoever is on its own machine. Three things look like that and are not:

- a reverse proxy on the same machine: all the world then has a loopback address. Whatever bears a proxy's headers is
  refused, and so is HTTP/1.0 with a `Connection` header, as nginx sends it by default;
- a web page in a browser on this machine that sends requests here: browsers say so in `Sec-Fetch-Site` and `Origin`;
- DNS rebinding, a stranger's name that resolves to 127.0.0.1: the `Host` header then names the stranger.

What cannot be told apart is a proxy that speaks HTTP/1.1 and adds no header. SECURITY.md says so: behind a proxy,
make keys. With keys none of this matters, as no browser and no proxy adds `X-API-Key` by itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from app.domain.errors import Forbidden

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
_REMEDY = "`python -m app keys create` makes a key, and with one this is allowed."


def refuse_unless_local(scope: Scope, names: Collection[str], origins: Collection[str] = ()) -> None:
    """Raise Forbidden unless a request comes from this machine and was meant for it.

    Parameters
    ----------
    scope : ASGI scope
    names : collection of str
        Names of this machine that the `Host` header may bear beside the loopback ones.
    origins : collection of str
        Origins of web pages that may send requests (`cors_origins`); ``*`` stands for none here.
    """
    client = scope.get("client")
    if not is_loopback(client[0] if client else None):
        raise Forbidden(f"No API key was made yet, so the service answers its own machine only; {_REMEDY}")
    headers = Headers(scope=scope)
    old_proxy = scope.get("http_version") == "1.0" and "connection" in headers
    if any(name in headers for name in _FORWARDED) or old_proxy:
        raise Forbidden(
            f"The request came through a proxy, and no API key was made yet: behind a proxy everybody looks like "
            f"this machine; {_REMEDY}"
        )
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _is_own_name(hosts[0], names):
        raise Forbidden(f"Without API keys the service answers to names of its own machine only; {_REMEDY}")
    origin = headers.get("origin")
    allowed = origin is not None and origin in origins
    from_own_page = headers.get("sec-fetch-site", "none") in {"none", "same-origin"}
    if not allowed and not (from_own_page and _is_own_origin(origin, hosts[0])):
        raise Forbidden(f"A web page of another origin sent this, and no API key was made yet; {_REMEDY}")


def is_loopback(address: str | None) -> bool:
    """Whether an address is this machine's own; None is a Unix socket, which is by nature."""
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
