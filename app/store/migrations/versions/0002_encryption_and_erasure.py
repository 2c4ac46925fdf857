"""Key ids of encrypted values; tables for questioned images, tombstones and the probe; encrypted answers.

This migration encrypts nothing: the next start encrypts in small transactions (`app.store.reencryption`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    for table in ("reference_images", "templates"):
        op.add_column(table, sa.Column("key_id", sa.String(64)))
        op.create_index(f"ix_{table}_key", table, ["key_id"])
    op.create_table(
        "questioned_images",
        sa.Column(
            "verification_id",
            sa.String(36),
            sa.ForeignKey("verifications.verification_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("media_type", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_questioned_images_created", "questioned_images", ["created_at"])
    op.create_index("ix_questioned_images_key", "questioned_images", ["key_id"])
    with op.batch_alter_table("idempotency") as batch:
        batch.alter_column("answer", existing_type=sa.JSON(), nullable=True)
        batch.add_column(sa.Column("signer_id", sa.String(128)))
        batch.add_column(sa.Column("key_id", sa.String(64)))
        batch.add_column(sa.Column("sealed", sa.LargeBinary))
    op.create_index("ix_idempotency_created", "idempotency", ["created_at"])
    op.create_index("ix_idempotency_signer", "idempotency", ["tenant_id", "signer_id"])
    op.create_index("ix_idempotency_key", "idempotency", ["key_id"])
    op.create_table(
        "tombstones",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("erased_at", MOMENT, nullable=False),
    )
    op.create_table(
        "probes",
        sa.Column("probe_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("written_at", MOMENT, nullable=False),
        sa.Column("filler", sa.LargeBinary, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Listings are ordered by the bytes of the ids, not by the database's collation.
        op.alter_column("signers", "signer_id", type_=sa.String(128, collation="C"), existing_nullable=False)


def downgrade() -> None:
    """Revert the migration; refuse if a value is encrypted, because the previous release could not read it."""
    for table in ("reference_images", "templates", "questioned_images", "idempotency"):
        sealed = op.get_bind().execute(sa.text(f"SELECT count(*) FROM {table} WHERE key_id IS NOT NULL"))  # noqa: S608 # nosec B608
        if sealed.scalar_one():
            raise RuntimeError(
                f"{table} holds encrypted values; restore a backup of the release before instead"
            )
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("signers", "signer_id", type_=sa.String(128), existing_nullable=False)
    op.drop_table("probes")
    op.drop_table("tombstones")
    for index in ("ix_idempotency_created", "ix_idempotency_signer", "ix_idempotency_key"):
        op.drop_index(index, "idempotency")
    with op.batch_alter_table("idempotency") as batch:
        for column in ("signer_id", "key_id", "sealed"):
            batch.drop_column(column)
    op.drop_table("questioned_images")
    for table in ("reference_images", "templates"):
        op.drop_index(f"ix_{table}_key", table)
        with op.batch_alter_table(table) as batch:
            batch.drop_column("key_id")
