"""Settings per channel, libraries of personas, the audit trail, feedback.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def workspace_id() -> sa.Column[int]:
    return sa.Column(
        "workspace_id",
        ROW_ID,
        sa.ForeignKey("workspaces.id", ondelete="CASCADE"),
        nullable=False,
    )


def upgrade() -> None:
    op.create_table(
        "channel_settings",
        sa.Column("id", ROW_ID, primary_key=True),
        workspace_id(),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("thread", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=True),
        sa.Column("inline", sa.Boolean(), nullable=True),
        sa.Column("answer_bots", sa.Boolean(), nullable=True),
        sa.Column("retention_days", sa.Integer(), nullable=True),
        sa.Column("max_images", sa.Integer(), nullable=True),
        sa.CheckConstraint("mode IN ('mention', 'always', 'strict', 'never')", name="mode"),
        sa.CheckConstraint("retention_days >= 0 AND max_images >= 0", name="numbers"),
        sa.UniqueConstraint("workspace_id", "channel", "thread"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "library_personas",
        sa.Column("id", ROW_ID, primary_key=True),
        workspace_id(),
        sa.Column("plain_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("set_by_name", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.UniqueConstraint("workspace_id", "plain_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audit_entries",
        sa.Column("id", ROW_ID, primary_key=True),
        workspace_id(),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("thread", sa.Text(), nullable=False),
        sa.Column("by_id", sa.Text(), nullable=False),
        sa.Column("by_name", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_audit_entries_workspace_id_id", "audit_entries", ["workspace_id", "id"]
    )
    op.create_table(
        "feedback",
        sa.Column(
            "turn_id",
            ROW_ID,
            sa.ForeignKey("turns.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("user_id", sa.Text(), primary_key=True),
        sa.Column("rating", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.CheckConstraint("rating IN ('good', 'bad')", name="rating"),
    )
    op.create_index("ix_feedback_user_id", "feedback", ["user_id"])


def downgrade() -> None:
    for table in ("feedback", "audit_entries", "library_personas", "channel_settings"):
        op.drop_table(table)
