"""All tables, and triggers that reject the change or deletion of an audit entry."""

from __future__ import annotations

import logging

import sqlalchemy as sa
from alembic import op

from app.store import candidate_vectors
from app.store.candidate_vectors import PgvectorUnavailable

revision = "1"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
BYTEWISE = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
"""Listings are ordered by the bytes of the ids, not by the database's collation."""
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
        "account_verifications",
        sa.Column("account_verification_id", sa.String(36), nullable=False),
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
        sa.Column("outcome", sa.String(16)),
        sa.Column("outcome_note", sa.Text),
        sa.Column("outcome_at", MOMENT),
        sa.PrimaryKeyConstraint("account_verification_id"),
    )
    op.create_index(
        "ix_account_verifications_tenant_account",
        "account_verifications",
        ["tenant_id", "account_id", "account_verification_id"],
    )
    op.create_table(
        "accounts",
        sa.Column("key", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("account_id", BYTEWISE, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("tenant_id", "account_id", name="uq_accounts_tenant_account"),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("rate_limit", sa.String(64)),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT),
        sa.Column("revoked_at", MOMENT),
        sa.Column("last_used_at", MOMENT),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("sha256"),
    )
    op.create_index(
        "uq_api_keys_live_name",
        "api_keys",
        ["tenant_id", "name"],
        unique=True,
        sqlite_where=sa.text("revoked_at IS NULL"),
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_table(
        "audit",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
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
        sa.PrimaryKeyConstraint("tenant_id", "sequence"),
    )
    op.create_index("ix_audit_tenant_record", "audit", ["tenant_id", "record_id"])
    op.create_index("ix_audit_tenant_subject", "audit", ["tenant_id", "subject", "sequence"])
    op.create_table(
        "audit_heads",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id"),
    )
    op.create_table(
        "changes",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("signer_key", sa.String(36), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "signer_key"),
    )
    op.create_index("ix_changes_tenant_sequence", "changes", ["tenant_id", "sequence"])
    op.create_table(
        "idempotency",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("signer_id", sa.String(128)),
        sa.Column("key_id", sa.String(64)),
        sa.Column("sealed", sa.LargeBinary),
        sa.PrimaryKeyConstraint("tenant_id", "idempotency_key"),
    )
    op.create_index("ix_idempotency_created", "idempotency", ["created_at"])
    op.create_index("ix_idempotency_key", "idempotency", ["key_id"])
    op.create_index("ix_idempotency_signer", "idempotency", ["tenant_id", "signer_id"])
    op.create_table(
        "probes",
        sa.Column("probe_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("written_at", MOMENT, nullable=False),
        sa.Column("filler", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("probe_id"),
    )
    op.create_table(
        "signers",
        sa.Column("key", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("signer_id", BYTEWISE, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("target_far", sa.Float),
        sa.Column("fixed_threshold", sa.Float),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("tenant_id", "signer_id", name="uq_signers_tenant_signer"),
    )
    op.create_table(
        "tenants",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id"),
    )
    op.create_table(
        "tombstones",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("erased_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "verifications",
        sa.Column("verification_id", sa.String(36), nullable=False),
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
        sa.PrimaryKeyConstraint("verification_id"),
    )
    op.create_index(
        "ix_verifications_tenant_decision", "verifications", ["tenant_id", "decision", "verification_id"]
    )
    op.create_index(
        "ix_verifications_tenant_outcome",
        "verifications",
        ["tenant_id", "outcome", "verification_id"],
        sqlite_where=sa.text("outcome IS NOT NULL"),
        postgresql_where=sa.text("outcome IS NOT NULL"),
    )
    op.create_index("ix_verifications_tenant_id", "verifications", ["tenant_id", "verification_id"])
    op.create_index(
        "ix_verifications_tenant_signer", "verifications", ["tenant_id", "signer_id", "verification_id"]
    )
    op.create_table(
        "account_versions",
        sa.Column("version_id", sa.String(36), nullable=False),
        sa.Column("account_key", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("effective_from", sa.Date),
        sa.Column("mandate", sa.JSON, nullable=False),
        sa.ForeignKeyConstraint(["account_key"], ["accounts.key"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("version_id"),
        sa.UniqueConstraint("account_key", "version", name="uq_account_versions_version"),
    )
    op.create_table(
        "cases",
        sa.Column("verification_id", sa.String(36), nullable=False),
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("amount", sa.String(20), nullable=False),
        sa.Column("currency", sa.String(3)),
        sa.Column("claimed_by", sa.String(128)),
        sa.Column("claim_key_id", sa.String(255)),
        sa.Column("claimed_until", MOMENT),
        sa.Column("decision", sa.String(16)),
        sa.Column("reason", sa.String(32)),
        sa.Column("note", sa.Text),
        sa.Column("decided_by", sa.String(128)),
        sa.Column("decided_at", MOMENT),
        sa.Column("seconds", sa.Float),
        sa.ForeignKeyConstraint(["verification_id"], ["verifications.verification_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("verification_id"),
    )
    op.create_index("ix_cases_tenant_amount", "cases", ["tenant_id", "state", "amount", "verification_id"])
    op.create_index("ix_cases_tenant_decided", "cases", ["tenant_id", "decided_at"])
    op.create_index("ix_cases_tenant_state", "cases", ["tenant_id", "state", "verification_id"])
    op.create_table(
        "declined_proposals",
        sa.Column("verification_id", sa.String(36), nullable=False),
        sa.Column("declined_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["verification_id"], ["verifications.verification_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("verification_id"),
    )
    op.create_table(
        "idempotency_signers",
        sa.Column("tenant_id", sa.String(128), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("signer_id", sa.String(128), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "idempotency_key"],
            ["idempotency.tenant_id", "idempotency.idempotency_key"],
            name="fk_idempotency_signers_answer",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "idempotency_key", "signer_id"),
    )
    op.create_index("ix_idempotency_signers_signer", "idempotency_signers", ["tenant_id", "signer_id"])
    op.create_table(
        "known_forgeries",
        sa.Column("verification_id", sa.String(36), nullable=False),
        sa.Column("signer_key", sa.String(36), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["signer_key"], ["signers.key"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["verification_id"], ["verifications.verification_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("verification_id"),
    )
    op.create_index("ix_known_forgeries_signer", "known_forgeries", ["signer_key", "verification_id"])
    op.create_table(
        "questioned_images",
        sa.Column("verification_id", sa.String(36), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("media_type", sa.String(64), nullable=False),
        sa.Column("page", sa.Integer, nullable=False),
        sa.Column("region", sa.String(64), nullable=False),
        sa.Column("turned", sa.Integer, nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(["verification_id"], ["verifications.verification_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("verification_id"),
    )
    op.create_index("ix_questioned_images_created", "questioned_images", ["created_at"])
    op.create_index("ix_questioned_images_key", "questioned_images", ["key_id"])
    op.create_table(
        "questioned_templates",
        sa.Column("verification_id", sa.String(36), nullable=False),
        sa.Column("model_version", sa.String(128), nullable=False),
        sa.Column("signer_key", sa.String(36), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(["signer_key"], ["signers.key"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["verification_id"], ["verifications.verification_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("verification_id", "model_version"),
    )
    op.create_index("ix_questioned_templates_created", "questioned_templates", ["created_at"])
    op.create_index("ix_questioned_templates_key", "questioned_templates", ["key_id"])
    op.create_index("ix_questioned_templates_signer", "questioned_templates", ["signer_key"])
    op.create_table(
        "references",
        sa.Column("reference_id", sa.String(36), nullable=False),
        sa.Column("signer_key", sa.String(36), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("media_type", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("page", sa.Integer, nullable=False),
        sa.Column("region", sa.String(64), nullable=False),
        sa.Column("quality", sa.JSON, nullable=False),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("model_version", sa.String(128), nullable=False),
        sa.ForeignKeyConstraint(["signer_key"], ["signers.key"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("reference_id"),
        sa.UniqueConstraint("signer_key", "sha256", "page", "region", name="uq_references_signer_region"),
    )
    op.create_table(
        "reference_images",
        sa.Column("reference_id", sa.String(36), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["reference_id"], ["references.reference_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("reference_id"),
    )
    op.create_index("ix_reference_images_key", "reference_images", ["key_id"])
    op.create_table(
        "signatories",
        sa.Column("version_id", sa.String(36), nullable=False),
        sa.Column("signer_id", sa.String(128), nullable=False),
        sa.Column("signer_key", sa.String(36)),
        sa.ForeignKeyConstraint(["signer_key"], ["signers.key"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["version_id"], ["account_versions.version_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("version_id", "signer_id"),
    )
    op.create_index("ix_signatories_signer", "signatories", ["signer_key"])
    op.create_table(
        "templates",
        sa.Column("reference_id", sa.String(36), nullable=False),
        sa.Column("model_version", sa.String(128), nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["reference_id"], ["references.reference_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("reference_id", "model_version"),
    )
    op.create_index("ix_templates_key", "templates", ["key_id"])
    _create_triggers()
    _create_candidate_vectors()


def _create_triggers() -> None:
    """Create the triggers that keep the audit append-only."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in (SQLITE if sqlite else POSTGRESQL).split(";;\n"):
        if statement.strip():
            op.execute(statement)


def _create_candidate_vectors() -> None:
    """Create the table for the index of pgvector, or log why there is none: a later start then creates it."""
    if op.get_bind().dialect.name == "sqlite":
        return
    try:
        candidate_vectors.create(op.get_bind())
    except PgvectorUnavailable as error:
        logging.getLogger("countersign.migrations").info("no table for the index of pgvector: %s", error)
