"""The region of its page that a reference was cut out of; several references may come from one page."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("references") as batch:
        batch.add_column(sa.Column("region", sa.String(64), nullable=False, server_default="whole"))
        batch.drop_constraint("uq_references_signer_image", type_="unique")
        batch.create_unique_constraint(
            "uq_references_signer_region", ["signer_key", "sha256", "page", "region"]
        )


def downgrade() -> None:
    with op.batch_alter_table("references") as batch:
        batch.drop_constraint("uq_references_signer_region", type_="unique")
        batch.create_unique_constraint("uq_references_signer_image", ["signer_key", "sha256", "page"])
        batch.drop_column("region")
