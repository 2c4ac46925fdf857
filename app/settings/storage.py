"""Settings of storage: the database, the indexes of identification, encryption, erasure and retention."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from app.settings.base import EMPTY_IS_NONE, Options


class StorageOptions(Options):
    """Where data are kept, for how long, and how they are protected."""

    # The store
    database_url: str = Field(
        default="sqlite:///var/countersign.sqlite3",
        description="SQLAlchemy URL of the store. SQLite needs nothing else; its file is created at the first "
        "start, in a folder that exists.",
    )
    store_threads: int = Field(
        default=8, ge=1, le=64, description="Connections to the store, each on its own thread."
    )

    # Identification
    exhaustive_signers: int = Field(
        default=10_000,
        ge=0,
        description="Number of signers of a tenant up to which identification compares all of them. Beyond it, an "
        "index proposes candidates (extra `index`). Comparing all takes about 55 KB of memory for each signer.",
    )
    candidate_index: Literal["memory", "pgvector"] = Field(
        default="memory",
        description="Where identification among many signers looks for candidates. memory: in the memory of the "
        "process, nothing is stored in clear text. pgvector: in PostgreSQL with the extension pgvector, which holds "
        "one reduced vector of each signer in clear text; for more signers than fit in the memory of a process.",
    )
    index_files: Literal["encrypted", "none"] = Field(
        default="encrypted",
        description="encrypted: the index of a tenant with many signers is kept in an encrypted file beside the "
        "SQLite file, so that a restart need not build it again. none: it exists in memory only, as it always does "
        "with other databases.",
    )

    # Encryption, erasure and retention
    encryption_keys: Annotated[SecretStr | None, EMPTY_IS_NONE] = Field(
        default=None,
        description="Keys that encrypt images, templates and kept answers: comma-separated, each ID:BASE64 of 32 "
        "bytes. The last one encrypts, the others still decrypt. `python -m app encryption new-key` makes one.",
    )
    encryption_key_file: Annotated[Path | None, EMPTY_IS_NONE] = Field(
        default=None,
        description="A file with such keys, one per line, instead; read again when it changes. With neither set, "
        "on a loopback address and SQLite, a file beside the store is created at the first start.",
    )
    encryption_key_id: Annotated[str | None, EMPTY_IS_NONE] = Field(
        default=None,
        description="Id of the key that encrypts, if not the last one: all replicas can get a new key before the "
        "first one encrypts with it.",
    )
    erasure_log: Annotated[Path | None, EMPTY_IS_NONE] = Field(
        default=None,
        description="File that repeats the tombstones, so that erased data are erased again after a backup has been "
        "restored: keep it apart from the backups, on a disk that all replicas share. Empty: beside the SQLite "
        "file; none for other databases.",
    )
    add_confirmed_references: bool = Field(
        default=False,
        description="Enrol a questioned signature as a reference when it was accepted without a warning and its case "
        "is recorded as genuine; its image must be kept. Without it, a person accepts the proposals.",
    )
    keep_questioned_days: float = Field(
        default=0.0,
        ge=0,
        le=36_500,
        description="Days for which images of questioned signatures are kept, encrypted; 0: not kept.",
    )
    keep_questioned_templates_days: float = Field(
        default=60.0,
        ge=0,
        le=36_500,
        description="Days for which templates of questioned signatures are kept, encrypted, so that one that turns "
        "out to be forged can be remembered; 0: not kept, and a forgery can be remembered only if its image is kept.",
    )
    keep_forged_days: float | None = Field(
        default=None,
        ge=0,
        le=36_500,
        description="Days for which images of known forgeries are kept, instead of "
        "COUNTERSIGN_KEEP_QUESTIONED_DAYS; a new model needs them.",
    )
    keep_answers_hours: float = Field(
        default=168.0,
        gt=0,
        le=87_600,
        description="Hours for which an Idempotency-Key and its answer are kept.",
    )

    @model_validator(mode="after")
    def _check_storage(self) -> Self:
        if self.encryption_keys is not None and self.encryption_key_file is not None:
            raise ValueError("encryption_keys and encryption_key_file are both set; set one of them")
        if self.candidate_index == "pgvector" and not self.database_url.startswith("postgres"):
            raise ValueError("candidate_index=pgvector needs a PostgreSQL database_url")
        return self
