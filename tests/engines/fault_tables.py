"""The tables of the tests of faults, and what they refuse."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Executable,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    insert,
    select,
    text,
)

from sqlkeel.sessions import Database

metadata = MetaData()
person = Table(
    "person",
    metadata,
    Column("id", Integer, autoincrement=False),
    Column("email", String(50), nullable=False),
    Column("age", Integer, nullable=False, server_default="1"),
    PrimaryKeyConstraint("id", name="person_pkey"),
    UniqueConstraint("email", name="person_email_key"),
)
person.append_constraint(CheckConstraint(person.c.age > 0, name="person_age_check"))
pet = Table(
    "pet",
    metadata,
    Column("id", Integer, autoincrement=False),
    Column("owner_id", Integer),
    PrimaryKeyConstraint("id", name="pet_pkey"),
    ForeignKeyConstraint(["owner_id"], ["person.id"], name="pet_owner_id_fkey"),
)

SECRET = "ann@secret.example"


async def fill(database: Database) -> None:
    """Make Ann with her pet, and Bob."""
    async with database.engine.begin() as connection:
        await connection.execute(insert(person), [{"id": 1, "email": SECRET}, {"id": 3, "email": "bob"}])
        await connection.execute(insert(pet).values(id=1, owner_id=1))


VALUES: dict[str, Executable] = {
    "too long": insert(person).values(id=2, email=SECRET * 5),
    "out of range": text("insert into person (id, email) values (99999999999, 'x')"),
    "of the wrong form": text(f"insert into person (id, email) values ('{SECRET}', 'x')"),
    "of the wrong type": insert(person).values(id=2, email="x", age=SECRET),
}


async def count_people(database: Database, table: Table = person) -> int:
    async with database.engine.connect() as connection:
        return len((await connection.execute(select(table))).all())
