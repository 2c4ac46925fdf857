"""Templates of questioned signatures, known forgeries, outcomes of documents, how a kept image is read again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "questioned_templates",
        sa.Column(
            "verification_id",
            sa.String(36),
            sa.ForeignKey("verifications.verification_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("model_version", sa.String(128), primary_key=True),
        sa.Column(
            "signer_key", sa.String(36), sa.ForeignKey("signers.key", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_questioned_templates_created", "questioned_templates", ["created_at"])
    op.create_index("ix_questioned_templates_key", "questioned_templates", ["key_id"])
    op.create_index("ix_questioned_templates_signer", "questioned_templates", ["signer_key"])
    op.create_table(
        "known_forgeries",
        sa.Column(
            "verification_id",
            sa.String(36),
            sa.ForeignKey("verifications.verification_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column(
            "signer_key", sa.String(36), sa.ForeignKey("signers.key", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("created_at", MOMENT, nullable=False),
    )
    op.create_index("ix_known_forgeries_signer", "known_forgeries", ["signer_key", "verification_id"])
    with op.batch_alter_table("account_verifications") as batch:
        batch.add_column(sa.Column("outcome", sa.String(16)))
        batch.add_column(sa.Column("outcome_note", sa.Text))
        batch.add_column(sa.Column("outcome_at", MOMENT))
    with op.batch_alter_table("questioned_images") as batch:
        batch.add_column(sa.Column("page", sa.Integer, nullable=False, server_default="0"))
        batch.add_column(sa.Column("region", sa.String(64), nullable=False, server_default="auto"))
        batch.add_column(sa.Column("turned", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("questioned_images") as batch:
        for column in ("turned", "region", "page"):
            batch.drop_column(column)
    with op.batch_alter_table("account_verifications") as batch:
        for column in ("outcome_at", "outcome_note", "outcome"):
            batch.drop_column(column)
    op.drop_table("known_forgeries")
    op.drop_table("questioned_templates")
