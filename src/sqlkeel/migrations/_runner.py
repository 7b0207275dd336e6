"""Migrations as an object: create, run and revert them, and ask for the state of the database."""

from __future__ import annotations

import asyncio
import re
import threading
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from alembic.autogenerate import RevisionContext
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from alembic.util.pyfiles import coerce_resource_to_filename
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..errors import DatabaseBehind, LockTimeout, MigrationError, ModelsDiffer, NotNullViolation
from . import _alembic as unpromised
from ._configuration import configuration_for, scripts_in, stem_of
from ._databases import migrator_for
from ._differences import describe
from ._files import make_directory, new_file, require_environment
from ._formatting import formatted
from ._project import metadata_of
from ._required import FILL
from ._turn import LOCK_TIMEOUT, WAIT, turn
from .env import TARGET, Target

__all__ = ["Migrations", "Revision"]

Work = Callable[[Any, Any], Iterable[Any]]


class _HasEngine(Protocol):
    @property
    def engine(self) -> AsyncEngine: ...


@dataclass(frozen=True)
class Revision:
    """One migration file, and whether the database has it."""

    id: str
    message: str
    path: Path
    applied: bool

    @property
    def day(self) -> str:
        """The day in the file's name, ``2024-08-24``; empty if the name has none."""
        day, _, rest = self.path.name.partition("_")
        return day if rest and day.count("-") == 2 else ""


class Migrations:
    """The migrations in a directory, for one database.

    Every method is awaited in the caller's own event loop, so a service can migrate when it starts and a test can
    migrate its own database. ``alembic upgrade head`` runs the same files by the same rules.

    Args:
        database: A `Database`, or an `AsyncEngine`.
        models: The declarative base or `MetaData` that the database is compared with.
        directory: The folder with ``env.py`` and ``versions/``; `new` creates it.
        lock_timeout: Seconds that a statement waits for a lock. Later statements on the table wait behind it.
        wait: Seconds to wait for another migrator of this database.
    """

    def __init__(
        self,
        database: _HasEngine | AsyncEngine,
        models: Any,
        directory: str | Path,
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        wait: float = WAIT,
    ) -> None:
        self.engine = database if isinstance(database, AsyncEngine) else database.engine
        self.models = models
        self.directory = Path(directory)
        self.lock_timeout = lock_timeout
        self.wait = wait

    async def up(self, target: str = "head") -> list[Revision]:
        """Apply all missing revisions up to *target*, and return them in order.

        If two processes call it, the second waits and then has nothing to do. If a revision fails, the error has a note
        with the name of the revision and the state of the database. PostgreSQL and SQLite roll the revision back.
        MariaDB commits each DDL statement, so the statements that ran before the error stay.

        Args:
            target: ``"head"``, a revision id, ``"+1"``, or ``"heads"`` if the history has several heads.

        Raises:
            MigrationError: When the files or the target are invalid.
            LockTimeout: When a table was in use for longer than ``lock_timeout``; run it again.
        """
        scripts = self._scripts(one_end=target == "head")
        return await self._move(scripts, lambda now: unpromised.steps_up(scripts, target, now), applied=True)

    async def down(self, target: str = "-1") -> list[Revision]:
        """Revert revisions down to *target*, which stays applied, and return the reverted ones.

        Args:
            target: ``"-1"``, a revision id, or ``"base"`` for all.

        Raises:
            MigrationError: When the files or the target are invalid, such as a number of steps past a merge.
        """
        scripts = self._scripts(one_end=False)

        def steps(now: Any) -> Iterable[Any]:
            _refuse_forks(scripts, now, target)
            return unpromised.steps_down(scripts, target, now) if now else []

        return await self._move(scripts, steps, applied=False)

    async def status(self) -> list[Revision]:
        """Return all revisions, oldest first, and whether each is applied.

        Raises:
            MigrationError: When the database is at a revision that is not in the directory.
        """
        scripts = self._scripts(one_end=False)
        if self._is_missing():
            return [_revision(script, applied=False) for script in _oldest_first(scripts)]
        async with self._reading() as connection:
            return await self._status(scripts, connection)

    async def check(self) -> None:
        """Check that the database is at the newest revision and matches the models.

        Use it in CI and in the readiness probe of a service.

        Raises:
            MigrationError: When the database is a file that does not exist; it is not created.
            DatabaseBehind: When revisions are not applied.
            ModelsDiffer: When the models and the database differ; it lists each difference.
        """
        scripts = self._scripts()
        self.require_database()
        async with self._reading() as connection:
            await self._refuse_behind(scripts, connection)
            revision = await self._compare(scripts, connection, "check")
        operations = revision.generated_revisions[-1].upgrade_ops
        if operations is not None and not operations.is_empty():
            raise ModelsDiffer(describe(operations.as_diffs()))

    async def new(self, message: str, *, autogenerate: bool = True) -> Path | None:
        """Write a revision with the differences between models and database; return its path.

        Read it before you run it: a renamed column looks like a dropped one and an added one.

        Args:
            message: A sentence about the change; it also names the file.
            autogenerate: ``False`` writes an empty revision to fill by hand, without connecting to the database.

        Returns:
            The new file, or ``None`` if there is no difference: an empty revision is not written.

        Raises:
            DatabaseBehind: When revisions are not applied; their changes would be written a second time.
        """
        with make_directory(self.directory):
            return await self._new(_one_line(message), autogenerate=autogenerate)

    async def _new(self, text: str, *, autogenerate: bool) -> Path | None:
        scripts = self._scripts()
        if not autogenerate:
            return _write(scripts, RevisionContext(self._config(), scripts, _arguments(text)))
        async with self._reading() as connection:
            await self._refuse_behind(scripts, connection)
            revision = await self._compare(scripts, connection, text)
        operations = revision.generated_revisions[-1].upgrade_ops
        return None if operations is None or operations.is_empty() else _write(scripts, revision)

    async def _move(
        self, scripts: ScriptDirectory, steps: Callable[[Any], Iterable[Any]], *, applied: bool
    ) -> list[Revision]:
        begun: list[Script] = []

        def work(now: Any, context: Any) -> Iterator[Any]:
            _refuse_unknown(scripts, now)
            for step in steps(now):
                begun.append(step.revision)
                yield step

        try:
            async with _alembic(), turn(self.engine, lock_timeout=self.lock_timeout, wait=self.wait) as connection:
                await self._run(scripts, connection, work)
        except Exception as error:
            self._explain(error, begun)
            raise
        return [_revision(script, applied=applied) for script in begun]

    def _explain(self, error: Exception, begun: Sequence[Script]) -> None:
        if begun:
            error.add_note(f"{Path(begun[-1].path).name} {migrator_for(self.engine.dialect.name).after_failure}.")
        if isinstance(error, LockTimeout):
            error.hint = f"A table was in use for more than {self.lock_timeout:g} s; run it again when it is not."
        if isinstance(error, NotNullViolation):
            error.hint = f"For rows that have no value: {FILL}."

    def require_database(self) -> None:
        """Check that the database exists: connecting to a missing SQLite file would create it.

        Raises:
            MigrationError: When it does not exist.
        """
        if self._is_missing():
            raise MigrationError(
                f"There is no database file {Path(str(self.engine.url.database)).absolute()}.",
                hint="sqlkeel migrate up creates it. A relative path starts in the current folder.",
            )

    def _is_missing(self) -> bool:
        return migrator_for(self.engine.dialect.name).is_missing(self.engine.url)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection that never waits for a writer, and keeps no changes from a comparison."""
        options = migrator_for(self.engine.dialect.name).reading_options()
        async with _alembic(), self.engine.connect() as connection:
            yield await connection.execution_options(**options)

    async def _status(self, scripts: ScriptDirectory, connection: AsyncConnection) -> list[Revision]:
        heads: tuple[str, ...] = ()

        def work(now: Any, context: Any) -> list[Any]:
            nonlocal heads
            heads = now
            return []

        await self._run(scripts, connection, work, dont_mutate=True)
        _refuse_unknown(scripts, heads)
        have = {script.revision for script in scripts.iterate_revisions(heads, "base")} if heads else set()
        return [_revision(script, applied=script.revision in have) for script in _oldest_first(scripts)]

    async def _refuse_behind(self, scripts: ScriptDirectory, connection: AsyncConnection) -> None:
        pending = [revision.path.name for revision in await self._status(scripts, connection) if not revision.applied]
        if pending:
            raise DatabaseBehind(pending)

    async def _compare(self, scripts: ScriptDirectory, connection: AsyncConnection, message: str) -> RevisionContext:
        revision = RevisionContext(self._config(), scripts, _arguments(message))

        def work(now: Any, context: Any) -> list[Any]:
            revision.run_autogenerate(now, context)
            return []

        options = {"template_args": revision.template_args, "revision_context": revision, "dont_mutate": True}
        await self._run(scripts, connection, work, **options)
        return revision

    async def _run(self, scripts: ScriptDirectory, connection: AsyncConnection, work: Work, **options: Any) -> None:
        """Execute env.py, which calls *work* with the revisions that the database is at."""

        def execute(sync: Connection) -> None:
            config = self._config()
            config.attributes[TARGET] = Target(sync, metadata_of(self.models))
            with _readable(), EnvironmentContext(config, scripts, fn=work, **options):
                scripts.run_env()

        await connection.run_sync(execute)

    def _config(self) -> Config:
        return configuration_for(self.directory, self.engine.url)

    def _scripts(self, *, one_end: bool = True) -> ScriptDirectory:
        """Read the migrations directory.

        Raises:
            MigrationError: When it does not exist, cannot be read, or has several heads where only one is allowed.
        """
        require_environment(self.directory)
        with _readable():
            scripts = scripts_in(self._config())
        heads = _heads(scripts)
        if one_end and len(heads) > 1:
            names = [Path(scripts.get_revision(head).path).name for head in sorted(heads)]
            raise MigrationError(
                f"There are {len(heads)} newest revisions: {', '.join(names)}.",
                hint=f"Make one follow the other: down_revision = {min(heads)!r} in {names[1]}.",
            )
        return scripts


_in_use = threading.Lock()
_PAUSE: Final = 0.01


@asynccontextmanager
async def _alembic() -> AsyncIterator[None]:
    """Use Alembic exclusively: ``alembic.op`` and ``alembic.context`` are globals of the process.

    Acquire it before any lock in the database, never while holding one.
    """
    # Polled: an asyncio lock belongs to one event loop, and a threading lock would block the whole loop.
    while not _in_use.acquire(blocking=False):  # noqa: ASYNC110 - there is no event that all loops could await
        await asyncio.sleep(_PAUSE)
    try:
        yield
    finally:
        _in_use.release()


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise MigrationError(f"{error}.".replace("..", ".")) from error


def _heads(scripts: ScriptDirectory) -> list[str]:
    with warnings.catch_warnings():
        # Alembic only warns about a gap, and then fails with a bare KeyError.
        warnings.filterwarnings("error", message="Revision .* is not present", category=UserWarning)
        try:
            with _readable():
                return scripts.get_heads()
        except UserWarning as error:
            raise MigrationError(f"The revisions do not form one line: {error}.") from error
        except Exception as error:
            place = _place_in(error, scripts)
            if place is None:
                raise
            raise MigrationError(f"{place} cannot be read: {type(error).__name__}: {error}.") from error


def _place_in(error: Exception, scripts: ScriptDirectory) -> str | None:
    """Return file and line of the error in a revision; ``None`` if it was raised elsewhere."""
    frames = [(Path(one.filename), one.lineno) for one in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename is not None:
        frames.append((Path(error.filename), error.lineno))
    folders = {folder.resolve() for folder in _folders(scripts)}
    found = [f"{path.name}:{line}" for path, line in frames if path.resolve().parent in folders]
    return found[-1] if found else None


def _refuse_unknown(scripts: ScriptDirectory, heads: Sequence[str]) -> None:
    for head in heads:
        try:
            scripts.get_revision(head)
        except CommandError:
            folders = ", ".join(map(str, _folders(scripts)))
            raise MigrationError(
                f"The database is at revision {head!r}, which is not in {folders}.",
                hint="Check out the branch that has it, or use another database.",
            ) from None


def _refuse_forks(scripts: ScriptDirectory, heads: Sequence[str], target: str) -> None:
    """Check that the history is linear from here, because *target* is a number of steps."""
    steps = -int(target) if re.fullmatch(r"-\d+", target) else 0
    ends = list(heads)
    if steps and len(ends) > 1:
        raise _fork(scripts, ends, target, stays=next(_before(scripts, ends[0]), "base"))
    for _ in range(steps):
        ends = [one for end in ends for one in _before(scripts, end)]
        if len(ends) > 1:
            raise _fork(scripts, ends, target, stays=ends[0])


def _before(scripts: ScriptDirectory, revision: str) -> Iterator[str]:
    """Yield the revisions that one follows; a merge follows several."""
    follows = scripts.get_revision(revision).down_revision
    yield from (follows,) if isinstance(follows, str) else follows or ()


def _fork(scripts: ScriptDirectory, ends: Sequence[str], target: str, *, stays: str) -> MigrationError:
    names = ", ".join(sorted(Path(scripts.get_revision(one).path).name for one in ends))
    return MigrationError(
        f"{target} needs a single line of revisions, but there are {len(ends)}, with {names}.",
        hint=f"Name the revision that stays: sqlkeel migrate down {stays}",
    )


def _oldest_first(scripts: ScriptDirectory) -> list[Script]:
    return list(reversed(list(scripts.walk_revisions())))


def _revision(script: Script, *, applied: bool) -> Revision:
    return Revision(script.revision, script.doc, Path(script.path), applied)


def _arguments(message: str) -> dict[str, Any]:
    names = ("sql", "splice", "branch_label", "version_path", "rev_id", "depends_on")
    return {**dict.fromkeys(names), "message": message, "autogenerate": True, "head": "head"}


def _one_line(message: str) -> str:
    """Return *message* as one line that fits into a docstring."""
    text = " ".join(message.split()).replace("\\", "/").replace('"', "'")
    if not text:
        raise MigrationError("A revision needs a message.", hint='sqlkeel migrate new "add users table"')
    return text


def _write(scripts: ScriptDirectory, revision: RevisionContext) -> Path:
    script, message = revision.generated_revisions[-1], revision.command_args["message"]
    versions = _folder_of(scripts)
    script.version_path = str(versions)
    stem = stem_of(revision.config, scripts, versions, revision=str(script.rev_id), message=message)
    with _readable(), new_file(versions, message, stem=stem) as path:
        unpromised.name_next_file(scripts, str(path.relative_to(versions).with_suffix("")))
        hooks = unpromised.take_hooks(scripts)
        for _ in revision.generate_scripts():
            pass
        path.write_text(formatted(path.read_text(encoding="utf-8")), encoding="utf-8")
        unpromised.run_hooks(path, hooks)  # after our formatting, so that the project's hooks run last
    return path


def _folders(scripts: ScriptDirectory) -> list[Path]:
    found = [Path(coerce_resource_to_filename(one)).absolute() for one in scripts.version_locations]
    return found or [Path(scripts.versions)]


def _folder_of(scripts: ScriptDirectory) -> Path:
    """Return the folder for a new revision: that of the revision it follows."""
    folders = _folders(scripts)
    beside = [Path(scripts.get_revision(head).path).parent for head in scripts.get_heads()]
    return next((one for one in beside if one in folders), folders[0])
