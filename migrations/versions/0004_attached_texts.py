"""Attached text files: their text, and what of a file is not kept.

Revision: 0004, after 0003
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with _altered() as table:
        table.add_column(sa.Column("text", sa.Text(), nullable=True))
        table.add_column(sa.Column("note", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    with _altered() as table:
        table.drop_column("note")
        table.drop_column("text")


def _altered() -> AbstractContextManager[BatchOperations]:
    """The table, copied on SQLite, so that it stands there as if it had been created so."""
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    return op.batch_alter_table(
        "attachments",
        recreate="always" if on_sqlite else "never",
        table_kwargs={"sqlite_autoincrement": True},
    )
