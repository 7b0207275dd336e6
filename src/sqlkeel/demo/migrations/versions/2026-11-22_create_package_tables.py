"""create package tables

Revision: f4e586a4bce6
Follows:
Made:     2026-11-22 14:56:47.828476
"""

import sqlalchemy as sa
from alembic import op
from sqlkeel.types import Money, UTCDateTime, utc_now

revision = "f4e586a4bce6"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "classifier",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column(
            "name",
            sa.String(length=200).with_variant(sa.String(length=200, collation="utf8mb4_nopad_bin"), "mariadb"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("classifier_pkey")),
        sa.UniqueConstraint("name", name=op.f("classifier_name_key")),
    )
    op.create_table(
        "person",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column(
            "name",
            sa.String(length=200).with_variant(sa.String(length=200, collation="utf8mb4_nopad_bin"), "mariadb"),
            nullable=False,
        ),
        sa.Column(
            "email",
            sa.String(length=320).with_variant(sa.String(length=320, collation="utf8mb4_nopad_bin"), "mariadb"),
            server_default="",
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("person_pkey")),
        sa.UniqueConstraint("name", "email", name=op.f("person_name_email_key")),
    )
    op.create_table(
        "project",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column(
            "name",
            sa.String(length=200).with_variant(sa.String(length=200, collation="utf8mb4_nopad_bin"), "mariadb"),
            nullable=False,
        ),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("project_pkey")),
        sa.UniqueConstraint("name", name=op.f("project_name_key")),
        sa.UniqueConstraint("public_id", name=op.f("project_public_id_key")),
    )
    op.create_table(
        "payment_account",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column(
            "holder",
            sa.String(length=200).with_variant(sa.String(length=200, collation="utf8mb4_nopad_bin"), "mariadb"),
            nullable=False,
        ),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("balance", Money(precision=18, scale=2), server_default="0", nullable=False),
        sa.Column("created_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.CheckConstraint("balance >= 0", name=op.f("payment_account_balance_check")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("payment_account_project_id_fkey"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("payment_account_pkey")),
        sa.UniqueConstraint("holder", name=op.f("payment_account_holder_key")),
        sa.UniqueConstraint("project_id", name=op.f("payment_account_project_id_key")),
        sa.UniqueConstraint("public_id", name=op.f("payment_account_public_id_key")),
    )
    op.create_table(
        "release",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "number",
            sa.String(length=100).with_variant(sa.String(length=100, collation="utf8mb4_nopad_bin"), "mariadb"),
            nullable=False,
        ),
        sa.Column("requires_python", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("deleted_at", UTCDateTime(), nullable=True),
        sa.Column("deletion_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("release_project_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("release_pkey")),
        sa.UniqueConstraint("public_id", name=op.f("release_public_id_key")),
    )
    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("release_deleted_at_idx"), ["deleted_at"], unique=False)
        batch_op.create_index(batch_op.f("release_deletion_id_idx"), ["deletion_id"], unique=False)
        batch_op.create_index(batch_op.f("release_project_id_idx"), ["project_id"], unique=False)
        batch_op.create_index(
            batch_op.f("release_project_id_number_idx"),
            ["project_id", "number"],
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
            mariadb_live="deleted_at",
        )

    op.create_table(
        "payment_transfer",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sender_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recipient_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("amount", Money(precision=18, scale=2), nullable=False),
        sa.Column("created_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("payment_transfer_amount_check")),
        sa.ForeignKeyConstraint(
            ["recipient_id"],
            ["payment_account.id"],
            name=op.f("payment_transfer_recipient_id_fkey"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["sender_id"], ["payment_account.id"], name=op.f("payment_transfer_sender_id_fkey"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("payment_transfer_pkey")),
    )
    with op.batch_alter_table("payment_transfer", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("payment_transfer_recipient_id_idx"), ["recipient_id"], unique=False)
        batch_op.create_index(batch_op.f("payment_transfer_sender_id_idx"), ["sender_id"], unique=False)

    op.create_table(
        "release_classifier",
        sa.Column("release_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("classifier_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["classifier_id"], ["classifier.id"], name=op.f("release_classifier_classifier_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["release_id"], ["release.id"], name=op.f("release_classifier_release_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("release_id", "classifier_id", name=op.f("release_classifier_pkey")),
    )
    with op.batch_alter_table("release_classifier", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("release_classifier_classifier_id_idx"), ["classifier_id"], unique=False)

    op.create_table(
        "release_file",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("release_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "path",
            sa.String(length=500).with_variant(sa.String(length=500, collation="utf8mb4_nopad_bin"), "mariadb"),
            nullable=False,
        ),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.String(length=200), nullable=True),
        sa.Column("created_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("updated_at", UTCDateTime(), server_default=utc_now(), nullable=False),
        sa.Column("deleted_at", UTCDateTime(), nullable=True),
        sa.Column("deletion_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["release_id"], ["release.id"], name=op.f("release_file_release_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("release_file_pkey")),
    )
    with op.batch_alter_table("release_file", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("release_file_deleted_at_idx"), ["deleted_at"], unique=False)
        batch_op.create_index(batch_op.f("release_file_deletion_id_idx"), ["deletion_id"], unique=False)
        batch_op.create_index(batch_op.f("release_file_release_id_idx"), ["release_id"], unique=False)
        batch_op.create_index(
            batch_op.f("release_file_release_id_path_idx"),
            ["release_id", "path"],
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
            sqlite_where=sa.text("deleted_at IS NULL"),
            mariadb_live="deleted_at",
        )

    op.create_table(
        "release_person",
        sa.Column("release_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("person_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.id"], name=op.f("release_person_person_id_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["release_id"], ["release.id"], name=op.f("release_person_release_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("release_id", "person_id", "role", name=op.f("release_person_pkey")),
    )
    with op.batch_alter_table("release_person", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("release_person_person_id_idx"), ["person_id"], unique=False)

    op.create_table(
        "release_requirement",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("release_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"], ["release.id"], name=op.f("release_requirement_release_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("release_requirement_pkey")),
        sa.UniqueConstraint("release_id", "position", name=op.f("release_requirement_release_id_position_key")),
    )


def downgrade() -> None:
    op.drop_table("release_requirement")
    op.drop_table("release_person")
    op.drop_table("release_file")
    op.drop_table("release_classifier")
    op.drop_table("payment_transfer")
    op.drop_table("release")
    op.drop_table("payment_account")
    op.drop_table("project")
    op.drop_table("person")
    op.drop_table("classifier")
