"""Cases: the verifications that a clerk has to decide, with claims and decisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "cases",
        sa.Column(
            "verification_id",
            sa.String(36),
            sa.ForeignKey("verifications.verification_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("claimed_by", sa.String(128)),
        sa.Column("claim_key_id", sa.String(255)),
        sa.Column("claimed_until", MOMENT),
        sa.Column("decision", sa.String(16)),
        sa.Column("reason", sa.String(32)),
        sa.Column("note", sa.Text),
        sa.Column("decided_by", sa.String(128)),
        sa.Column("decided_at", MOMENT),
    )
    op.create_index("ix_cases_tenant_state", "cases", ["tenant_id", "state", "verification_id"])
    # Verifications of earlier releases that were left to a person, as far as no outcome says what they were.
    op.execute(
        "INSERT INTO cases (verification_id, tenant_id, state) "
        "SELECT verification_id, tenant_id, 'open' FROM verifications "
        "WHERE decision = 'review' AND (outcome IS NULL OR outcome = 'undetermined')"
    )


def downgrade() -> None:
    op.drop_table("cases")
