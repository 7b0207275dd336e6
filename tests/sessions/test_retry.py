"""Retrying: how often, how long, and after which errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import pytest
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, Repository, Session
from sqlkeel.errors import (
    CommitUnknown,
    ConnectionLost,
    DatabaseBusy,
    DatabaseFault,
    Deadlock,
    KeelError,
    LockTimeout,
    NestedTransaction,
    NotFound,
    PoolTimeout,
    SerializationFailure,
    StatementTimeout,
    TransactionAborted,
    UniqueViolation,
    VersionConflict,
)
from sqlkeel.models import IntKeyMixin
from sqlkeel.sessions import _retry as retrying
from sqlkeel.sessions import retry_on_conflict
from sqlkeel.sessions._retry import FIRST_PAUSE, LONGEST_PAUSE, is_transient, retry
from sqlkeel.versions import VersionMixin


class Base(sqlkeel.Base):
    pass


class Counter(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "counter"
    value: Mapped[int] = mapped_column(default=0)


class Failure(Exception):
    """The caller's own error."""


class Attempts:
    """An attempt that fails with one error after the other, and then succeeds."""

    def __init__(self, failures: Iterable[Exception]) -> None:
        self.failures: Iterator[Exception] = iter(failures)
        self.made = 0

    async def __call__(self) -> str:
        """Make the next attempt."""
        self.made += 1
        failure = next(self.failures, None)
        if failure is not None:
            raise failure
        return "done"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are made, each as long as it may be, and none of them waited for."""
    made: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        made.append(seconds)
        await sleep(0)

    monkeypatch.setattr(retrying.asyncio, "sleep", note)
    monkeypatch.setattr(retrying.random, "uniform", lambda low, high: high)
    return made


class TestAttempts:
    @pytest.mark.parametrize(("failures", "attempts"), [(0, 1), (1, 2), (4, 5)])
    async def test_it_returns_what_the_last_one_returns(
        self, pauses: list[float], failures: int, attempts: int
    ) -> None:
        """With as many attempts as are needed it succeeds, and pauses between two."""
        attempt = Attempts([Deadlock("lost")] * failures)

        assert await retry(attempt, attempts=attempts) == "done"

        assert attempt.made == attempts
        assert len(pauses) == failures

    @pytest.mark.parametrize("attempts", [1, 2, 5])
    async def test_it_raises_what_the_last_one_raises(self, pauses: list[float], attempts: int) -> None:
        """With one too few it fails, at once and with the last error."""
        faults = [Deadlock(f"{number}") for number in range(attempts)]
        attempt = Attempts(faults)

        with pytest.raises(Deadlock) as caught:
            await retry(attempt, attempts=attempts)

        assert caught.value is faults[-1]
        assert attempt.made == attempts
        assert len(pauses) == attempts - 1

    @pytest.mark.parametrize("attempts", [0, -1])
    async def test_at_least_one(self, attempts: int) -> None:
        """Never to call the function is no way to call it."""
        attempt = Attempts([])

        with pytest.raises(ValueError, match="At least one"):
            await retry(attempt, attempts=attempts)

        assert attempt.made == 0

    async def test_another_error_ends_it(self, pauses: list[float]) -> None:
        """What would fail again is not tried again."""
        attempt = Attempts([Deadlock("lost"), Failure()])

        with pytest.raises(Failure):
            await retry(attempt, attempts=5)

        assert attempt.made == 2

    async def test_a_cancellation_ends_it(self) -> None:
        """A cancelled attempt is the end, and so is a cancelled pause."""
        attempt = Attempts([Deadlock("lost")] * 1000)
        task = asyncio.create_task(retry(attempt, attempts=1000))
        await asyncio.sleep(0)

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert attempt.made == 1


class TestPauses:
    async def test_they_double_up_to_a_bound(self, pauses: list[float]) -> None:
        """Who loses often waits longer, and nobody waits longer than a second."""
        await retry(Attempts([Deadlock("lost")] * 8), attempts=9)

        assert pauses == [0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0]
        assert (pauses[0], max(pauses)) == (2 * FIRST_PAUSE, LONGEST_PAUSE)

    async def test_there_may_be_very_many(self, pauses: list[float]) -> None:
        """The bound holds where the doubled number would be too large for a float."""
        await retry(Attempts([Deadlock("lost")] * 1100), attempts=1101)

        assert pauses[-1] == LONGEST_PAUSE

    async def test_they_are_random(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two who met once shall not meet again: the pause is anything from nothing to the bound."""
        asked: list[tuple[float, float]] = []
        monkeypatch.setattr(retrying.random, "uniform", lambda *bounds: asked.append(bounds) or 0.0)

        await retry(Attempts([Deadlock("lost")]), attempts=2)

        assert asked == [(0, 2 * FIRST_PAUSE)]


class TestDeadline:
    @pytest.mark.parametrize(("deadline", "made"), [(0.039, 1), (0.041, 2), (0.121, 3)])
    async def test_no_attempt_begins_after_it(
        self, pauses: list[float], monkeypatch: pytest.MonkeyPatch, deadline: float, made: int
    ) -> None:
        """The pause counts: it is not waited for where nothing could follow."""
        monkeypatch.setattr(retrying.time, "monotonic", lambda: 1000.0 + sum(pauses))
        attempt = Attempts([Deadlock("lost")] * 5)

        with pytest.raises(Deadlock):
            await retry(attempt, attempts=made + 1, deadline=deadline)

        assert attempt.made == made
        assert len(pauses) == made - 1

    async def test_the_first_attempt_is_always_made(self) -> None:
        """A deadline of nothing is one attempt."""
        assert await retry(Attempts([]), attempts=5, deadline=0) == "done"


def caused(error: BaseException, cause: BaseException) -> BaseException:
    """Return *error* as if it had been raised from *cause*."""
    error.__cause__ = cause
    return error


def met(error: BaseException, context: BaseException) -> BaseException:
    """Return *error* as if it had been raised while *context* was handled."""
    error.__context__ = context
    return error


DEADLOCK = Deadlock("lost")
MASKING = OperationalError("ROLLBACK TO SAVEPOINT", {}, Exception("SAVEPOINT does not exist"))


class TestIsTransient:
    @pytest.mark.parametrize("kind", [SerializationFailure, Deadlock, LockTimeout, DatabaseBusy, ConnectionLost])
    def test_a_lost_race_is(self, kind: type[DatabaseFault]) -> None:
        """Run again, it may win."""
        assert is_transient(kind("lost"))

    @pytest.mark.parametrize(
        "error",
        [
            Failure(),
            KeelError("wrong"),
            PoolTimeout("full"),
            StatementTimeout("slow"),
            UniqueViolation(),
            CommitUnknown("lost"),
            TransactionAborted("swallowed"),
            VersionConflict("User", 1, expected=1, current=2),
            asyncio.CancelledError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_what_would_fail_again_is_not(self, error: BaseException) -> None:
        """Nor what may have been done already."""
        assert not is_transient(error)

    def test_a_fault_behind_a_database_error_is(self) -> None:
        """MariaDB complains of a savepoint that went with the deadlock."""
        assert is_transient(met(MASKING, DEADLOCK))

    def test_a_swallowed_fault_is(self) -> None:
        """A transaction that cannot commit because of a deadlock may be run again as a whole."""
        assert is_transient(caused(TransactionAborted("swallowed"), DEADLOCK))

    def test_a_fault_behind_two_errors_is(self) -> None:
        """However deep it is hidden."""
        assert is_transient(caused(SQLAlchemyError("outer"), caused(SQLAlchemyError("inner"), DEADLOCK)))

    def test_the_cause_counts_more_than_the_context(self) -> None:
        """Where somebody said what it came from, what else was going on is not asked."""
        assert not is_transient(caused(met(SQLAlchemyError("outer"), DEADLOCK), Failure()))

    def test_the_callers_own_error_is_not(self) -> None:
        """Who turns a deadlock into an error of their own has decided."""
        assert not is_transient(caused(Failure(), DEADLOCK))

    def test_an_unknown_commit_never_is(self) -> None:
        """Run again, it might be done twice, whatever it came from."""
        assert not is_transient(caused(CommitUnknown("lost"), ConnectionLost("lost")))

    @pytest.mark.parametrize(("members", "transient"), [([DEADLOCK, DEADLOCK], True), ([DEADLOCK, Failure()], False)])
    def test_a_group_is_if_every_member_is(self, members: list[Exception], transient: bool) -> None:
        """What one of several tasks did wrong stays wrong."""
        assert is_transient(ExceptionGroup("of a TaskGroup", members)) is transient


@pytest.fixture
async def counter(every_driver: Database) -> tuple[Database, int]:
    """A database, and the key of a counter that stands at 0."""
    async with every_driver.transaction() as session:
        counter = await Repository(session, Counter).create(value=0)
    return every_driver, counter.id


async def how_many(db: Database, *, value: int) -> int:
    """Return how many counters stand at a value."""
    async with db.session() as session:
        return await Repository(session, Counter).count(Counter.value == value)


async def read_apart(db: Database, key: int) -> Counter:
    """Return the counter as it is now, read by a session of its own."""
    async with db.session() as session:
        return await Repository(session, Counter).get_one(key)


async def read(db: Database, key: int) -> tuple[int, int]:
    """Return the value and the version of a counter."""
    counter = await read_apart(db, key)
    return counter.value, counter.version


async def increment(session: Session, key: int) -> int:
    """Read the counter, and write one more."""
    counter = await session.get_one(Counter, key)
    counter.value += 1
    return counter.value


@pytest.mark.tables(Base.metadata)
class TestCommittedByHand:
    """What has committed something by itself is not run again: it would be written twice."""

    async def test_a_transient_fault_after_it_is_raised(self, counter: tuple[Database, int]) -> None:
        """The row is there once."""
        database, _ = counter

        async def add(session: Session) -> None:
            session.add(Counter(value=7))
            await session.commit()
            raise Deadlock("after the commit")

        with pytest.raises(Deadlock):
            await database.run_transaction(add)

        assert await how_many(database, value=7) == 1

    async def test_a_conflict_after_it_is_raised(self, counter: tuple[Database, int]) -> None:
        """The same for versions."""
        database, key = counter

        @retry_on_conflict(database)
        async def add(session: Session) -> None:
            session.add(Counter(value=7))
            await session.commit()
            raise VersionConflict("Counter", key, expected=1, current=2, current_row=None)

        with pytest.raises(VersionConflict):
            await add()

        assert await how_many(database, value=7) == 1

    async def test_a_rollback_by_hand_is_none(self, counter: tuple[Database, int]) -> None:
        """Nothing is written then, and the next attempt may succeed."""
        database, _ = counter
        runs: list[int] = []

        async def add(session: Session) -> None:
            runs.append(1)
            session.add(Counter(value=7))
            if len(runs) == 1:
                await session.rollback()
                raise Deadlock("after the rollback")

        await database.run_transaction(add)

        assert len(runs) == 2
        assert await how_many(database, value=7) == 1


@pytest.mark.tables(Base.metadata)
class TestRetryOnConflict:
    async def test_of_many_increments_none_is_lost(self, counter: tuple[Database, int]) -> None:
        """Sixteen who read the same value and write one more make it sixteen more."""
        db, key = counter
        everyone_has_read = asyncio.Barrier(16)
        runs: list[int] = []

        @retry_on_conflict(db, attempts=100)
        async def increment_together(session: Session, key: int) -> int:
            runs.append(key)
            first = len(runs) <= 16
            counter = await read_apart(db, key)
            await (everyone_has_read.wait() if first else asyncio.sleep(0))
            session.add(counter)
            counter.value += 1
            return counter.value

        results = await asyncio.gather(*(increment_together(key) for _ in range(16)))

        assert await read(db, key) == (16, 17)
        assert sorted(results) == list(range(1, 17))
        assert len(runs) > 16

    async def test_it_returns_what_the_function_returns(self, counter: tuple[Database, int]) -> None:
        """Without a conflict it is a transaction, called without the session."""
        db, key = counter

        assert await retry_on_conflict(db)(increment)(key) == 1
        assert await read(db, key) == (1, 2)

    @pytest.mark.parametrize("attempts", [1, 3])
    async def test_the_last_conflict_is_raised(
        self, counter: tuple[Database, int], pauses: list[float], attempts: int
    ) -> None:
        """Who loses each time is told in the end, and has written nothing."""
        db, key = counter

        @retry_on_conflict(db, attempts=attempts)
        async def lose(session: Session) -> None:
            counter = await read_apart(db, key)
            async with db.session() as other, other.begin():
                await increment(other, key)
            session.add(counter)
            counter.value = 100

        with pytest.raises(VersionConflict) as caught:
            await lose()

        assert (caught.value.expected, caught.value.current) == (attempts, attempts + 1)
        assert await read(db, key) == (attempts, attempts + 1)

    async def test_a_version_that_was_given_is_not_tried_for_ever(
        self, counter: tuple[Database, int], pauses: list[float]
    ) -> None:
        """A conflict with what a client saw comes back, and ends it."""
        db, key = counter
        runs: list[int] = []

        @retry_on_conflict(db, attempts=50)
        async def change(session: Session, seen: int) -> None:
            runs.append(seen)
            counters = Repository(session, Counter)
            await counters.update(await counters.get_one(key), {"value": 5}, expected_version=seen)

        with pytest.raises(VersionConflict):
            await change(7)

        assert runs == [7, 7]

    async def test_a_row_that_is_gone_is_looked_for_once_more(
        self, counter: tuple[Database, int], pauses: list[float]
    ) -> None:
        """Deleted meanwhile, it is not found by the next attempt."""
        db, key = counter

        @retry_on_conflict(db)
        async def change(session: Session) -> None:
            counter = await read_apart(db, key)
            async with db.session() as other, other.begin():
                await other.delete(await other.get_one(Counter, key))
            session.add(counter)
            counter.value = 5

        with pytest.raises(NotFound):
            await change()

    async def test_a_lost_race_of_another_kind_is_run_again(
        self, counter: tuple[Database, int], pauses: list[float]
    ) -> None:
        """A deadlock and a conflict are met by one decorator."""
        db, key = counter
        faults = iter([Deadlock("lost"), VersionConflict("Counter", key, expected=0, current=1)])

        @retry_on_conflict(db)
        async def change(session: Session) -> int:
            for fault in faults:
                raise fault
            return await increment(session, key)

        assert await change() == 1

    async def test_another_error_ends_it(self, counter: tuple[Database, int]) -> None:
        """What is no conflict is raised at once."""
        db, key = counter
        runs: list[int] = []

        @retry_on_conflict(db)
        async def fail(session: Session) -> None:
            runs.append(key)
            raise NotFound("Counter", key)

        with pytest.raises(NotFound):
            await fail()

        assert runs == [key]

    async def test_it_is_no_part_of_a_transaction(self, counter: tuple[Database, int]) -> None:
        """Inside another transaction it could only be run again as a whole: refused."""
        db, key = counter

        async with db.transaction():
            with pytest.raises(NestedTransaction):
                await retry_on_conflict(db)(increment)(key)
