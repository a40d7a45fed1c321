"""The playground's channels, posts and pictures.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "playground_channels",
        sa.Column("id", ROW_ID, primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint("kind IN ('channel', 'dm')", name="kind"),
        sa.UniqueConstraint("kind", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "playground_posts",
        sa.Column("id", ROW_ID, primary_key=True),
        sa.Column(
            "channel_id",
            ROW_ID,
            sa.ForeignKey("playground_channels.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column(
            "thread_id",
            ROW_ID,
            sa.ForeignKey("playground_posts.id", ondelete="CASCADE"),
            nullable=True,
        ),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("edited", sa.Boolean(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.Column("turn_id", ROW_ID, nullable=True),
        sa.Column("asker", sa.Text(), nullable=True),
        sa.Column("reply_state", sa.Text(), nullable=True),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "reply_state IN ('running', 'done', 'stopped', 'failed')", name="reply_state"
        ),
        sa.UniqueConstraint("turn_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_playground_posts_channel_id_thread_id_id",
        "playground_posts",
        ["channel_id", "thread_id", "id"],
    )
    op.create_index("ix_playground_posts_thread_id", "playground_posts", ["thread_id"])
    op.create_table(
        "playground_uploads",
        sa.Column("id", ROW_ID, primary_key=True),
        sa.Column(
            "post_id",
            ROW_ID,
            sa.ForeignKey("playground_posts.id", ondelete="CASCADE"),
            nullable=True,
        ),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_playground_uploads_post_id", "playground_uploads", ["post_id"])


def downgrade() -> None:
    for table in ("playground_uploads", "playground_posts", "playground_channels"):
        op.drop_table(table)
