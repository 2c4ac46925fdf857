"""Accounts with versions and signatories, verifications of documents, and the signers of stored answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
BYTEWISE = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("key", sa.String(36), primary_key=True),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("account_id", BYTEWISE, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.UniqueConstraint("tenant_id", "account_id", name="uq_accounts_tenant_account"),
    )
    op.create_table(
        "account_versions",
        sa.Column("version_id", sa.String(36), primary_key=True),
        sa.Column(
            "account_key", sa.String(36), sa.ForeignKey("accounts.key", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("effective_from", sa.Date),
        sa.Column("mandate", sa.JSON, nullable=False),
        sa.UniqueConstraint("account_key", "version", name="uq_account_versions_version"),
    )
    op.create_table(
        "signatories",
        sa.Column(
            "version_id",
            sa.String(36),
            sa.ForeignKey("account_versions.version_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("signer_id", sa.String(128), primary_key=True),
        sa.Column("signer_key", sa.String(36), sa.ForeignKey("signers.key", ondelete="SET NULL")),
    )
    op.create_index("ix_signatories_signer", "signatories", ["signer_key"])
    op.create_table(
        "account_verifications",
        sa.Column("account_verification_id", sa.String(36), primary_key=True),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("account_id", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("version_id", sa.String(36), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("signed_on", sa.Date, nullable=False),
        sa.Column("amount", sa.String(32), nullable=False),
        sa.Column("currency", sa.String(3)),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("model_version", sa.String(128), nullable=False),
        sa.Column("basis", sa.JSON, nullable=False),
    )
    op.create_index(
        "ix_account_verifications_tenant_account",
        "account_verifications",
        ["tenant_id", "account_id", "account_verification_id"],
    )
    op.create_table(
        "idempotency_signers",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("idempotency_key", sa.String(255), primary_key=True),
        sa.Column("signer_id", sa.String(128), primary_key=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "idempotency_key"],
            ["idempotency.tenant_id", "idempotency.idempotency_key"],
            name="fk_idempotency_signers_answer",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_idempotency_signers_signer", "idempotency_signers", ["tenant_id", "signer_id"])


def downgrade() -> None:
    for table in (
        "idempotency_signers",
        "account_verifications",
        "signatories",
        "account_versions",
        "accounts",
    ):
        op.drop_table(table)
