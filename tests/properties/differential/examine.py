"""Do a case twice, our way and the plain one, from the same rows in one transaction, and tell what differs."""

from __future__ import annotations

from sqlalchemy import Connection, orm
from sqlalchemy.ext.asyncio import AsyncConnection

from sqlkeel import Database, Session
from tests.properties.differential import ours, plain
from tests.properties.differential.cases import Case
from tests.properties.differential.compare import differences
from tests.properties.differential.models import Counter
from tests.properties.differential.notes import (
    Done,
    Seen,
    finish,
    flush_changes,
    hold,
    loaded_of,
    note,
    note_expired,
    note_loaded,
)
from tests.properties.differential.refusals import is_allowed
from tests.properties.differential.state import Raw, raw_rows

__all__ = ["examine"]


async def examine(database: Database, case: Case) -> list[str]:
    """Return what differs between the two ways; nothing, if all is well. The database is left as it was."""
    async with database.engine.connect() as connection:
        if case.made.moved:
            await connection.execution_options(schema_translate_map=case.made.moved)
        transaction = await connection.begin()
        try:
            planted = await connection.run_sync(_plant, case)
            mine = await _ours(connection, case)
            theirs = await connection.run_sync(_plain, case, mine.refused)
        finally:
            await transaction.rollback()
    return [*mine.complaints, *differences(case, planted, mine, theirs)]


def _plant(connection: Connection, case: Case) -> Raw:
    Counter.begin(Counter.PLANTED)
    session = orm.Session(connection, join_transaction_mode="create_savepoint")
    plain.plant(session, case)
    session.commit()
    session.close()
    return raw_rows(connection, case.made)


async def _ours(connection: AsyncConnection, case: Case) -> Seen:
    Counter.begin(Counter.WRITTEN)
    seen = Seen()
    session = Session(connection, join_transaction_mode="create_savepoint")
    try:
        held = await session.run_sync(hold, case)
        for number, step in enumerate(case.steps):
            done = Done()
            before = loaded = loaded_of(session, held)
            try:
                async with session.savepoint():
                    loaded = loaded_of(session, held)
                    note_expired(seen, held, before, loaded)
                    result = await ours.do(case, step, session)
                    await session.run_sync(note, case, step, done, result)
            except Exception as error:  # noqa: BLE001 - whatever it is, the plain way must raise it too
                done.error, done.message = type(error).__name__, str(error).partition("\n")[0]
                if is_allowed(case, step, done.error):
                    seen.refused.add(number)
            note_loaded(seen, number, loaded, loaded_of(session, held))
            seen.done.append(done)
        await session.run_sync(finish, case, held, seen)
    finally:
        await session.close()
    return seen


def _plain(connection: Connection, case: Case, skipped: set[int]) -> Seen:
    Counter.begin(Counter.WRITTEN)
    seen = Seen(refused=skipped)
    session = orm.Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False)
    held = hold(session, case)
    flush_changes(session, case, held, seen)
    for number, step in enumerate(case.steps):
        done = Done()
        seen.done.append(done)
        if number in skipped:
            continue
        nested = session.begin_nested()
        loaded = loaded_of(session, held)
        try:
            result = plain.do(case, step, session)
            note(session, case, step, done, result)
        except Exception as error:  # noqa: BLE001 - as above
            done.error, done.message = type(error).__name__, str(error).partition("\n")[0]
            nested.rollback()
        else:
            nested.commit()
        note_loaded(seen, number, loaded, loaded_of(session, held))
    finish(session, case, held, seen)
    session.close()
    return seen
