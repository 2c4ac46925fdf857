"""The audit's chain, pure: what is hashed, how one entry holds on to the one before, and how faults are found.

Each tenant has a chain of its own, so that no sequence number tells one tenant how busy another is. An entry's hash
is taken over the canonical JSON of everything in it, the hash of the entry before included: a change, a gap or
another order breaks the chain at that place. With a key the hash is an HMAC-SHA256 (RFC 2104), and whoever can write
the database but lacks the key cannot build the chain anew. What no chain can show by itself is that its end was
cut off; for that its head is kept elsewhere too, as an `Anchor`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

GENESIS = "0" * 64
"""What the first entry of a chain holds on to."""
_LEAST = 32


@dataclass(frozen=True)
class Entry:
    """One entry of an audit chain.

    Attributes
    ----------
    at : str
        ISO 8601 in UTC to the microsecond.
    action : str
        Such as ``verify``; `app.services.audit.trail` lists them.
    actor : str
        The name of the key, ``loopback`` while there are none, or ``command-line``.
    key_id : str or None
        Tells two keys of one name apart.
    subject : str or None
        The signer's key in the store: it names nobody once the signer is erased.
    record_id : str or None
        The verification, reference or key that it is about.
    details : str
        Canonical JSON: model version, threshold, result and the like; never an image or a template.
    sealed_with : str or None
        Id of the secret that the hash was made with; None: no secret.
    previous, hash : str
        Hexadecimal.
    """

    tenant_id: str
    sequence: int
    at: str
    action: str
    actor: str
    key_id: str | None
    request_id: str
    subject: str | None
    record_id: str | None
    details: str
    sealed_with: str | None = None
    previous: str = GENESIS
    hash: str = ""


@dataclass(frozen=True)
class Anchor:
    """Where a chain ended at some moment, kept outside of the database."""

    tenant_id: str
    sequence: int
    hash: str


@dataclass(frozen=True)
class Fault:
    """Something that a chain of this service never shows by itself."""

    tenant_id: str
    sequence: int | None
    what: str


class ChainKeys:
    """The secrets that chains are hashed with: the first is in use, the others still verify."""

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self._by_id = {_id(secret): secret for secret in secrets}
        self.current = _id(secrets[0]) if secrets else None

    @classmethod
    def parse(cls, text: str) -> ChainKeys:
        """Read secrets separated by commas or white space; raise ValueError for one that is too short."""
        parts = [part for part in re.split(r"[,\s]+", text) if part]
        if any(len(part) < _LEAST for part in parts):
            raise ValueError(f"a secret must have {_LEAST} characters or more; `audit new-key` makes one")
        return cls([part.encode() for part in parts])

    def knows(self, key_id: str | None) -> bool:
        """Whether an entry sealed with this key can be verified."""
        return key_id is None or key_id in self._by_id

    def digest(self, entry: Entry) -> str:
        """The hash that belongs to an entry; KeyError when it was sealed with a key that is not known."""
        content = canonical({key: value for key, value in vars(entry).items() if key != "hash"}).encode()
        if entry.sealed_with is None:
            return hashlib.sha256(content).hexdigest()
        return hmac.digest(self._by_id[entry.sealed_with], content, "sha256").hex()

    def sealed(self, entry: Entry, head: Anchor) -> Entry:
        """The entry as the next one after `head`, sealed with the key in use."""
        placed = replace(
            entry, sequence=head.sequence + 1, previous=head.hash, sealed_with=self.current, hash=""
        )
        return replace(placed, hash=self.digest(placed))


def start_of(tenant_id: str) -> Anchor:
    """The head of a chain that has no entry yet."""
    return Anchor(tenant_id, 0, GENESIS)


def canonical(value: object) -> str:
    """JSON that is the same for the same value: keys in order, no white space, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


class Verifier:
    """Walks one tenant's chain in order and collects what is wrong with it.

    Parameters
    ----------
    tenant_id : str
    keys : ChainKeys
    anchors : iterable of Anchor
        Heads that were kept elsewhere, of any tenant.
    start : Anchor, optional
        The entry before the first one that will be shown, for a part of a chain.
    """

    def __init__(
        self, tenant_id: str, keys: ChainKeys, anchors: Iterable[Anchor] = (), start: Anchor | None = None
    ) -> None:
        self._tenant = tenant_id
        self._keys = keys
        self._anchors: dict[int, set[str]] = {}
        for anchor in anchors:
            if anchor.tenant_id == tenant_id:
                self._anchors.setdefault(anchor.sequence, set()).add(anchor.hash)
        self.head = start or start_of(tenant_id)
        self._sealed_with: str | None = None

    def check(self, entries: Iterable[Entry]) -> Iterator[Fault]:
        """Faults of the entries, which come in the order of their sequence."""
        for entry in entries:
            yield from self._check(entry)
            self.head = Anchor(entry.tenant_id, entry.sequence, entry.hash)
            self._sealed_with = entry.sealed_with

    def finish(self, recorded: Anchor | None) -> Iterator[Fault]:
        """Faults of the end: beside the head that the store keeps (None: it keeps none), and beside the anchors."""
        if recorded is not None and recorded != self.head:
            yield self._fault(
                None,
                f"the chain ends at {self.head.sequence}, the store's head says {recorded.sequence}"
                if recorded.sequence != self.head.sequence
                else f"the store's head at {recorded.sequence} has another hash than the entry",
            )
        for sequence in sorted(number for number in self._anchors if number > self.head.sequence):
            yield self._fault(sequence, f"an anchor names entry {sequence}: the chain's tail was cut off")
        if self._keys.current is not None and self.head.sequence and self._sealed_with is None:
            yield self._fault(
                self.head.sequence,
                "a key is configured and the last entry is not sealed: the chain was rebuilt without it, or the "
                "service was not started since the key was set (starting it seals the chain)",
            )

    def _check(self, entry: Entry) -> Iterator[Fault]:
        expected = self.head.sequence + 1
        if entry.tenant_id != self._tenant:
            yield self._fault(entry.sequence, f"the entry belongs to tenant {entry.tenant_id!r}")
        if entry.sequence != expected:
            missing = (
                f"{expected}" if entry.sequence == expected + 1 else f"{expected} to {entry.sequence - 1}"
            )
            yield self._fault(entry.sequence, f"a gap: {missing} missing before it")
        elif entry.previous != self.head.hash:
            yield self._fault(entry.sequence, "it does not hold on to the entry before it")
        if self._sealed_with is not None and entry.sealed_with is None:
            yield self._fault(entry.sequence, "it is not sealed, and the entry before it is")
        if not self._keys.knows(entry.sealed_with):
            yield self._fault(
                entry.sequence,
                f"it was sealed with the key {entry.sealed_with}, which is not configured; add it to "
                "COUNTERSIGN_AUDIT_KEY after the one in use",
            )
        elif not hmac.compare_digest(self._keys.digest(entry), entry.hash):
            yield self._fault(entry.sequence, "its content was changed: the hash does not fit")
        if any(anchor != entry.hash for anchor in self._anchors.get(entry.sequence, ())):
            yield self._fault(entry.sequence, "an anchor has another hash: the chain was rebuilt")

    def _fault(self, sequence: int | None, what: str) -> Fault:
        return Fault(self._tenant, sequence, what)


def _id(secret: bytes) -> str:
    return hashlib.sha256(b"countersign audit key:" + secret).hexdigest()[:16]
