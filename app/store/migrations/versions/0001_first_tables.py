"""Initial tables: tenants, changes, signers, references, images, templates, verifications, idempotency."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "changes",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("signer_key", sa.String(36), primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_changes_tenant_sequence", "changes", ["tenant_id", "sequence"])
    op.create_table(
        "signers",
        sa.Column("key", sa.String(36), primary_key=True),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("signer_id", sa.String(128), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("target_far", sa.Float),
        sa.Column("fixed_threshold", sa.Float),
        sa.UniqueConstraint("tenant_id", "signer_id", name="uq_signers_tenant_signer"),
    )
    op.create_table(
        "references",
        sa.Column("reference_id", sa.String(36), primary_key=True),
        sa.Column(
            "signer_key", sa.String(36), sa.ForeignKey("signers.key", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("media_type", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("page", sa.Integer, nullable=False),
        sa.Column("quality", sa.JSON, nullable=False),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("model_version", sa.String(128), nullable=False),
        sa.UniqueConstraint("signer_key", "sha256", "page", name="uq_references_signer_image"),
    )
    reference = sa.ForeignKey("references.reference_id", ondelete="CASCADE")
    op.create_table(
        "reference_images",
        sa.Column("reference_id", sa.String(36), reference, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    reference = sa.ForeignKey("references.reference_id", ondelete="CASCADE")
    op.create_table(
        "templates",
        sa.Column("reference_id", sa.String(36), reference, primary_key=True),
        sa.Column("model_version", sa.String(128), primary_key=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "verifications",
        sa.Column("verification_id", sa.String(36), primary_key=True),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("signer_id", sa.String(128), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("distance", sa.Float, nullable=False),
        sa.Column("threshold", sa.Float, nullable=False),
        sa.Column("review_threshold", sa.Float),
        sa.Column("log_likelihood_ratio", sa.Float, nullable=False),
        sa.Column("operating_point", sa.JSON, nullable=False),
        sa.Column("reference_distances", sa.JSON, nullable=False),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("model_version", sa.String(128), nullable=False),
        sa.Column("questioned_sha256", sa.String(64), nullable=False),
        sa.Column("basis", sa.JSON, nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("outcome_note", sa.Text),
        sa.Column("outcome_at", MOMENT),
    )
    op.create_index("ix_verifications_tenant_id", "verifications", ["tenant_id", "verification_id"])
    op.create_index(
        "ix_verifications_tenant_signer", "verifications", ["tenant_id", "signer_id", "verification_id"]
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("idempotency_key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    for table in (
        "idempotency",
        "verifications",
        "templates",
        "reference_images",
        "references",
        "signers",
        "changes",
        "tenants",
    ):
        op.drop_table(table)
