"""add release size

Revision: 40255fff1e93
Follows:  f4e586a4bce6
Made:     2026-11-22 14:56:50.302793
"""

import sqlalchemy as sa
from alembic import op

revision = "40255fff1e93"
down_revision = "f4e586a4bce6"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.add_column(sa.Column("size", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.drop_column("size")
