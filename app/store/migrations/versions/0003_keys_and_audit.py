"""API keys, and the audit with triggers that reject the change or deletion of an entry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
WORDS = "the audit is append-only"

REFUSE = f"BEGIN SELECT RAISE(ABORT, '{WORDS}'); END"
SQLITE = f"""
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit {REFUSE};;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit {REFUSE};;
CREATE TRIGGER audit_heads_no_delete BEFORE DELETE ON audit_heads {REFUSE};;
CREATE TRIGGER audit_heads_forward BEFORE UPDATE ON audit_heads
    WHEN NEW.sequence <> OLD.sequence + 1 OR NEW.tenant_id <> OLD.tenant_id {REFUSE};;
"""
EACH = "FOR EACH ROW EXECUTE FUNCTION audit_refuse()"
POSTGRESQL = f"""
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '{WORDS}' USING ERRCODE = 'insufficient_privilege'; END $$;;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit {EACH};;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit {EACH};;
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit EXECUTE FUNCTION audit_refuse();;
CREATE TRIGGER audit_heads_no_delete BEFORE DELETE ON audit_heads {EACH};;
CREATE TRIGGER audit_heads_no_truncate BEFORE TRUNCATE ON audit_heads EXECUTE FUNCTION audit_refuse();;
CREATE TRIGGER audit_heads_forward BEFORE UPDATE ON audit_heads FOR EACH ROW
    WHEN (NEW.sequence <> OLD.sequence + 1 OR NEW.tenant_id <> OLD.tenant_id)
    EXECUTE FUNCTION audit_refuse();;
"""


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(36), primary_key=True),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("rate_limit", sa.String(64)),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.Column("revoked_at", MOMENT),
        sa.Column("last_used_at", MOMENT),
    )
    live = sa.text("revoked_at IS NULL")
    op.create_index(
        "uq_api_keys_live_name",
        "api_keys",
        ["tenant_id", "name"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_table(
        "audit_heads",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("tenant_id", sa.String(128), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("key_id", sa.String(255)),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(36)),
        sa.Column("record_id", sa.String(36)),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("sealed_with", sa.String(16)),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_index("ix_audit_tenant_subject", "audit", ["tenant_id", "subject", "sequence"])
    op.create_index("ix_audit_tenant_record", "audit", ["tenant_id", "record_id"])
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in (SQLITE if sqlite else POSTGRESQL).split(";;\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    postgresql = op.get_bind().dialect.name != "sqlite"
    for table in ("audit", "audit_heads", "api_keys"):
        op.drop_table(table)
    if postgresql:
        op.execute("DROP FUNCTION audit_refuse()")
