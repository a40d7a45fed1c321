"""The whole schema of the first version.

Revision: 0001, the first
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def row_id() -> sa.Column[int]:
    return sa.Column("id", ROW_ID, primary_key=True)


def reference(column: str, target: str, **options: object) -> sa.Column[int]:
    ondelete = options.pop("ondelete", "CASCADE")
    return sa.Column(
        column, ROW_ID, sa.ForeignKey(target, ondelete=ondelete), **{"nullable": False, **options}
    )


def text(name: str, **options: object) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), **{"nullable": False, **options})


def upgrade() -> None:
    op.create_table(
        "workspaces",
        row_id(),
        text("platform"),
        text("external_id"),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("platform", "external_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "channels",
        row_id(),
        reference("workspace_id", "workspaces.id"),
        text("external_id"),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("workspace_id", "external_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "conversations",
        row_id(),
        reference("channel_id", "channels.id"),
        text("thread"),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("channel_id", "thread"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "turns",
        row_id(),
        reference("conversation_id", "conversations.id"),
        text("state"),
        text("reply_text"),
        sa.Column("reply_token_ids", sa.LargeBinary(), nullable=False),
        text("finish_reason", nullable=True),
        sa.Column("posted", sa.JSON(), nullable=False),
        text("ref", nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.CheckConstraint(
            "state IN ('accepted', 'answering', 'delivered', 'failed', 'cancelled')", name="state"
        ),
        sa.CheckConstraint(
            "finish_reason IN ('stop', 'length', 'cancelled')", name="finish_reason"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_turns_conversation_id_id", "turns", ["conversation_id", "id"])
    op.create_index("ix_turns_state", "turns", ["state"])
    op.create_table(
        "messages",
        row_id(),
        reference("turn_id", "turns.id"),
        text("platform_id"),
        text("author_id"),
        text("author_name"),
        text("text"),
        sa.Column("at", TIME, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_messages_turn_id", "messages", ["turn_id"])
    op.create_index("ix_messages_platform_id", "messages", ["platform_id"])
    op.create_table(
        "images",
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint("width > 0", name="width"),
        sa.CheckConstraint("height > 0", name="height"),
    )
    op.create_table(
        "attachments",
        row_id(),
        reference("message_id", "messages.id"),
        text("name"),
        text("declared_type"),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), sa.ForeignKey("images.digest"), nullable=True),
        text("problem", nullable=True),
        sa.CheckConstraint("digest IS NULL OR problem IS NULL", name="digest_or_problem"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_attachments_message_id", "attachments", ["message_id"])
    op.create_index("ix_attachments_digest", "attachments", ["digest"])
    op.create_table(
        "claims",
        sa.Column("platform", sa.Text(), primary_key=True),
        sa.Column("workspace", sa.Text(), primary_key=True),
        sa.Column("channel", sa.Text(), primary_key=True),
        sa.Column("message_id", sa.Text(), primary_key=True),
        sa.Column("at", TIME, nullable=False),
    )
    op.create_index("ix_claims_at", "claims", ["at"])
    op.create_table(
        "personas",
        row_id(),
        reference("workspace_id", "workspaces.id"),
        text("channel"),
        text("thread"),
        sa.UniqueConstraint("workspace_id", "channel", "thread"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "persona_versions",
        row_id(),
        reference("persona_id", "personas.id"),
        text("text", nullable=True),
        sa.Column("sampling", sa.JSON(), nullable=False),
        text("library_name", nullable=True),
        text("set_by_id"),
        text("set_by_name"),
        sa.Column("at", TIME, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_persona_versions_persona_id_id", "persona_versions", ["persona_id", "id"])
    op.create_table(
        "usage",
        row_id(),
        reference("turn_id", "turns.id", ondelete="SET NULL", nullable=True),
        text("platform"),
        text("workspace"),
        text("user_id"),
        text("model"),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), nullable=False),
        sa.Column("generated_tokens", sa.Integer(), nullable=False),
        sa.Column("queue_s", sa.Double(), nullable=False),
        sa.Column("ttft_s", sa.Double(), nullable=False),
        sa.Column("total_s", sa.Double(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.CheckConstraint(
            "prompt_tokens >= 0 AND cached_tokens >= 0 AND generated_tokens >= 0", name="tokens"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_usage_turn_id", "usage", ["turn_id"])
    op.create_index(
        "ix_usage_platform_workspace_user_id_at",
        "usage",
        ["platform", "workspace", "user_id", "at"],
    )


def downgrade() -> None:
    for table in (
        "usage",
        "persona_versions",
        "personas",
        "claims",
        "attachments",
        "images",
        "messages",
        "turns",
        "conversations",
        "channels",
        "workspaces",
    ):
        op.drop_table(table)
