"""The hash chain of the audit, without I/O: hashing, linking and verification.

Each tenant has its own chain, so that sequence numbers do not show how many requests other tenants send. The hash of
an entry covers the canonical JSON of all its fields, the hash of the previous entry included: a change, a gap or
another order breaks the chain at that entry. An entry is sealed when its hash is an HMAC-SHA256 (RFC 2104) with a
secret: an attacker who can write to the database but lacks the secret cannot rebuild the chain. A chain alone does
not show that its end was cut off. An `Anchor`, a copy of its head that is kept outside of the database, does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

GENESIS = "0" * 64
"""Previous hash of the first entry of a chain."""
_MIN_SECRET_LENGTH = 32


@dataclass(frozen=True)
class Entry:
    """One entry of an audit chain.

    Attributes
    ----------
    at : str
        Time in UTC, ISO 8601 to the microsecond.
    action : str
        Such as ``verify``; `app.services.audit.trail` lists them.
    actor : str
        Name of the key; ``loopback`` while no key exists; or ``command-line``.
    key_id : str or None
        Distinguishes keys with the same name.
    subject : str or None
        Primary key of the signer in the store. It identifies no one once the signer is erased.
    record_id : str or None
        Id of the verification, reference or API key that the entry is about.
    details : str
        Canonical JSON: model version, threshold, result and the like; never an image or a template.
    sealed_with : str or None
        Id of the secret of the HMAC; None: the hash is a plain SHA-256.
    previous, hash : str
        Hashes of the previous entry and of this one, hexadecimal.
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
    """The head of a chain at some time: sequence number and hash of its last entry."""

    tenant_id: str
    sequence: int
    hash: str


@dataclass(frozen=True)
class Fault:
    """A sign of tampering or damage; intact chains have none."""

    tenant_id: str
    sequence: int | None
    what: str


class ChainKeys:
    """The secrets of the HMAC of audit chains. The first one seals new entries; the others only verify."""

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self._by_id = {_id(secret): secret for secret in secrets}
        self.current = _id(secrets[0]) if secrets else None

    @classmethod
    def parse(cls, text: str) -> ChainKeys:
        """Parse secrets that are separated by commas or white space. Raises ValueError when one is too short."""
        parts = [part for part in re.split(r"[,\s]+", text) if part]
        if any(len(part) < _MIN_SECRET_LENGTH for part in parts):
            raise ValueError(
                f"a secret must have at least {_MIN_SECRET_LENGTH} characters; `audit new-key` makes one"
            )
        return cls([part.encode() for part in parts])

    def knows(self, key_id: str | None) -> bool:
        """Whether entries sealed with this key, or with none, can be verified."""
        return key_id is None or key_id in self._by_id

    def digest(self, entry: Entry) -> str:
        """Compute the hash of an entry. Raises KeyError when the key that sealed it is not configured."""
        content = canonical({key: value for key, value in vars(entry).items() if key != "hash"}).encode()
        if entry.sealed_with is None:
            return hashlib.sha256(content).hexdigest()
        return hmac.digest(self._by_id[entry.sealed_with], content, "sha256").hex()

    def sealed(self, entry: Entry, head: Anchor) -> Entry:
        """Return the entry as the successor of `head`, sealed with the key in use."""
        linked = replace(
            entry, sequence=head.sequence + 1, previous=head.hash, sealed_with=self.current, hash=""
        )
        return replace(linked, hash=self.digest(linked))


def start_of(tenant_id: str) -> Anchor:
    """Return the head of an empty chain."""
    return Anchor(tenant_id, 0, GENESIS)


def canonical(value: object) -> str:
    """Serialise to JSON that is equal for equal values: sorted keys, no white space, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


class Verifier:
    """Verifies the chain of one tenant, entry by entry.

    Parameters
    ----------
    tenant_id : str
    keys : ChainKeys
    anchors : iterable of Anchor
        Copies of heads from outside of the database, of any tenant.
    start : Anchor, optional
        The entry before the first one to verify, when only a part of the chain is verified.
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
        """Yield the faults of the entries, which must be in the order of their sequence."""
        for entry in entries:
            yield from self._check(entry)
            self.head = Anchor(entry.tenant_id, entry.sequence, entry.hash)
            self._sealed_with = entry.sealed_with

    def finish(self, recorded: Anchor | None) -> Iterator[Fault]:
        """Yield the faults of the end of the chain. Call it after the last entry.

        Parameters
        ----------
        recorded : Anchor or None
            The head that the store records; None: it records none.
        """
        if recorded is not None and recorded != self.head:
            yield self._fault(
                None,
                f"the chain ends at {self.head.sequence}, the head in the store is at {recorded.sequence}"
                if recorded.sequence != self.head.sequence
                else f"the head in the store, at {recorded.sequence}, has another hash than the entry",
            )
        for sequence in sorted(number for number in self._anchors if number > self.head.sequence):
            yield self._fault(sequence, f"an anchor names entry {sequence}: the end of the chain was cut off")
        if self._keys.current is not None and self.head.sequence and self._sealed_with is None:
            yield self._fault(
                self.head.sequence,
                "a key is configured and the last entry is not sealed: the chain was rebuilt without the key, or the "
                "service has not been started since the key was set (the start seals the chain)",
            )

    def _check(self, entry: Entry) -> Iterator[Fault]:
        expected = self.head.sequence + 1
        if entry.tenant_id != self._tenant:
            yield self._fault(entry.sequence, f"the entry belongs to tenant {entry.tenant_id!r}")
        if entry.sequence != expected:
            missing = (
                f"{expected}" if entry.sequence == expected + 1 else f"{expected} to {entry.sequence - 1}"
            )
            yield self._fault(entry.sequence, f"a gap: {missing} missing before this entry")
        elif entry.previous != self.head.hash:
            yield self._fault(entry.sequence, "previous-hash mismatch with the previous entry")
        if self._sealed_with is not None and entry.sealed_with is None:
            yield self._fault(entry.sequence, "it is not sealed, but the previous entry is")
        if not self._keys.knows(entry.sealed_with):
            yield self._fault(
                entry.sequence,
                f"it was sealed with the key {entry.sealed_with}, which is not configured; add it to "
                "COUNTERSIGN_AUDIT_KEY after the key in use",
            )
        elif not hmac.compare_digest(self._keys.digest(entry), entry.hash):
            yield self._fault(entry.sequence, "its content was changed: the hash does not match")
        if any(anchor != entry.hash for anchor in self._anchors.get(entry.sequence, ())):
            yield self._fault(entry.sequence, "an anchor has another hash: the chain was rebuilt")

    def _fault(self, sequence: int | None, what: str) -> Fault:
        return Fault(self._tenant, sequence, what)


def _id(secret: bytes) -> str:
    return hashlib.sha256(b"countersign audit key:" + secret).hexdigest()[:16]
