"""The desk: amounts, kinds and durations of cases, and proposed references that were declined."""

from __future__ import annotations

from decimal import Decimal

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
BATCH = 500


def upgrade() -> None:
    with op.batch_alter_table("cases") as batch:
        batch.add_column(sa.Column("kind", sa.String(16), nullable=False, server_default="review"))
        batch.add_column(sa.Column("amount", sa.String(20), nullable=False, server_default=""))
        batch.add_column(sa.Column("currency", sa.String(3)))
        batch.add_column(sa.Column("seconds", sa.Float))
    _fill_amounts()
    op.create_index("ix_cases_tenant_amount", "cases", ["tenant_id", "state", "amount", "verification_id"])
    op.create_index("ix_cases_tenant_decided", "cases", ["tenant_id", "decided_at"])
    op.create_table(
        "declined_proposals",
        sa.Column(
            "verification_id",
            sa.String(36),
            sa.ForeignKey("verifications.verification_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("declined_at", MOMENT, nullable=False),
    )


def _fill_amounts() -> None:
    """Give the open cases of documents the amounts of these, as `app.store.cases` writes them."""
    connection = op.get_bind()
    documents = sa.table(
        "account_verifications",
        sa.column("account_verification_id"),
        sa.column("amount", sa.String),
        sa.column("currency", sa.String),
        sa.column("basis", sa.JSON),
    )
    cases = sa.table(
        "cases", sa.column("verification_id"), sa.column("state"), sa.column("amount"), sa.column("currency")
    )
    last = ""
    while True:
        query = sa.select(documents).where(documents.c.account_verification_id > last)
        rows = connection.execute(query.order_by(documents.c.account_verification_id).limit(BATCH)).all()
        for row in rows:
            concerned = [
                item["verification_id"] for item in row.basis["signatures"] if item["verification_id"]
            ]
            connection.execute(
                sa.update(cases)
                .where(cases.c.verification_id.in_(concerned), cases.c.state == "open")
                .values(amount=f"{Decimal(row.amount):020.4f}", currency=row.currency)
            )
        if len(rows) < BATCH:
            return
        last = rows[-1].account_verification_id


def downgrade() -> None:
    op.drop_table("declined_proposals")
    op.drop_index("ix_cases_tenant_decided", "cases")
    op.drop_index("ix_cases_tenant_amount", "cases")
    # Cases of automatic decisions are unknown to the release before.
    op.execute("DELETE FROM cases WHERE kind = 'quality-control'")
    with op.batch_alter_table("cases") as batch:
        for column in ("seconds", "currency", "amount", "kind"):
            batch.drop_column(column)
