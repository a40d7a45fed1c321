"""Discord's interactions that wait for an answer.

Revision: 0006, after 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "discord_asks",
        sa.Column("asking", sa.Text(), nullable=False),
        sa.Column("interaction", sa.BigInteger(), nullable=False),
        sa.Column("application", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.Column("pressed", sa.BigInteger(), nullable=True),
        sa.Column("token", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("asking", name=op.f("pk_discord_asks")),
    )
    op.create_index(op.f("ix_discord_asks_at"), "discord_asks", ["at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_discord_asks_at"), table_name="discord_asks")
    op.drop_table("discord_asks")
