"""check roles of people

Revision: 6936e8629a68
Follows:  40255fff1e93
Made:     2026-11-22 19:02:47.107561
"""

import sqlalchemy as sa
from alembic import op

revision = "6936e8629a68"
down_revision = "40255fff1e93"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("release_person", schema=None) as batch_op:
        batch_op.alter_column(
            "role",
            existing_type=sa.String(length=20),
            type_=sa.String(length=64).with_variant(sa.String(length=64, collation="utf8mb4_nopad_bin"), "mariadb"),
            existing_nullable=False,
        )
        batch_op.create_check_constraint(
            op.f("release_person_role_check"), sa.column("role").in_(["author", "maintainer"])
        )


def downgrade() -> None:
    with op.batch_alter_table("release_person", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("release_person_role_check"), type_="check")
        batch_op.alter_column(
            "role",
            existing_type=sa.String(length=64).with_variant(
                sa.String(length=64, collation="utf8mb4_nopad_bin"), "mariadb"
            ),
            type_=sa.String(length=20),
            existing_nullable=False,
        )
