"""The usual queries on one table: by key, by condition, by page; without deleted rows by default."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, ClassVar, Final, Generic, TypeVar, cast, get_args, get_origin
from uuid import UUID

from sqlalchemy import ColumnExpressionArgument, Result, Select, func, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.exc import MultipleResultsFound, SQLAlchemyError
from sqlalchemy.orm import Mapper

from ..errors import InvalidKey, InvalidValue, MultipleFound, NotFound, NotSupported, shown
from ..models._conditions import refuse_joins, refuse_other_tables, refuse_other_than_conditions
from ..models._key_columns import portions
from ..models._public_ids import PublicID, uuid_of
from ..models._relations import is_soft
from ..models._row_keys import RowKeys, among, keys_of
from ..reading._loading import Load, listed, loader_options, refuse_options, reloading
from ..reading._pagination import Keyset, OrderBy, Page, check_bound
from ..sessions._holding import AnyAsyncSession, refuse_other_than_session, session_in
from ..sessions._routes import dialect_of, in_order, windowed
from ..sessions._session import Session, SyncSession

__all__ = ["Reader"]

M = TypeVar("M")
_VALUES_AT_ONCE: Final = 5_000


class Reader(Generic[M]):
    """Reads the rows of one model: the reading half of `Repository`, for a table that the application never writes.

    Raises:
        NotSupported: Without a model; for a soft-deletable model in a session that is not based on `SyncSession`.
    """

    model: type[M]
    cursor_secret: ClassVar[bytes | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            origin, arguments = get_origin(base), get_args(base)
            if isinstance(origin, type) and issubclass(origin, Reader) and isinstance(arguments[0], type):
                cls.model = arguments[0]

    def __init__(self, session: AnyAsyncSession, model: type[M] | None = None) -> None:
        refuse_other_than_session(session, model)
        self._session = session
        if model is not None:
            self.model = model
        if not hasattr(self, "model"):
            raise NotSupported(
                "The repository has no model.",
                hint="class UserRepository(Repository[User]), or Repository(session, User)",
            )
        self._mapper: Mapper[M] = sa_inspect(self.model)
        if is_soft(self._mapper) and not isinstance(session_in(session).sync_session, SyncSession):
            raise NotSupported(
                f"This session would show deleted rows of {self._name}, and remove rows for good.",
                hint="Use a session of Database, or async_sessionmaker(engine, sync_session_class=SyncSession).",
            )

    @property
    def session(self) -> Session:
        """The session; for an ``async_scoped_session``, the session of the task that is running now."""
        return cast("Session", session_in(self._session))  # a cast, so that a caller's methods can call lock_rows()

    async def get(self, key: Any, *, load: Sequence[Load] = (), include_deleted: bool = False) -> M | None:
        """Return the row with this key, or ``None``; a composite key is a tuple or a mapping.

        A row that is already in the session is returned without a statement. With *load*, the relationships are loaded
        again, and everything else on the object stays as it is. For a key that no row can have, such as an integer that
        does not fit the column, the result is ``None``.

        Raises:
            InvalidKey: When the key has another shape, or a value of another type, than the model's.
            MultipleFound: When the model is read from several tables, and two have the key.
        """
        options = listed(load)
        identity = self._keys.identity(key)
        if identity is None:
            return None
        try:
            if not options:
                return await self.session.get(self.model, identity, execution_options=_shown(include_deleted))
            return await self._load(identity, options, include_deleted)
        except MultipleResultsFound:
            raise MultipleFound(self._name) from None

    async def get_one(self, key: Any, *, load: Sequence[Load] = (), include_deleted: bool = False) -> M:
        """Return the row with this key.

        Raises:
            NotFound: When no row has the key.
            InvalidKey, MultipleFound: As for `get`.
        """
        found = await self.get(key, load=load, include_deleted=include_deleted)
        if found is None:
            raise NotFound(self._name, key)
        return found

    async def get_by_public_id(
        self, public_id: PublicID[M] | UUID | str, *, load: Sequence[Load] = (), include_deleted: bool = False
    ) -> M | None:
        """Return the row with this public id, or ``None``.

        If the model has a prefix, a string must begin with it. For a string that is not an id of the model, the result
        is ``None`` as well, so that clients cannot distinguish the two cases.
        """
        column = self._column("public_id")
        try:
            wanted = uuid_of(public_id, self.model)
        except InvalidKey:
            return None
        return await self.one_or_none(column == wanted, load=load, include_deleted=include_deleted)

    async def get_one_by_public_id(
        self, public_id: PublicID[M] | UUID | str, *, load: Sequence[Load] = (), include_deleted: bool = False
    ) -> M:
        """Return the row with this public id, as `get_by_public_id` does.

        Raises:
            NotFound: When no row has the id, or the string is not an id of the model.
        """
        found = await self.get_by_public_id(public_id, load=load, include_deleted=include_deleted)
        if found is None:
            given = public_id if isinstance(public_id, (str, PublicID, UUID)) else shown(public_id)
            raise NotFound(self._name, str(given))
        return found

    async def one(
        self, *where: ColumnExpressionArgument[bool], load: Sequence[Load] = (), include_deleted: bool = False
    ) -> M:
        """Return the only row that matches.

        Raises:
            NotFound: When no row matches. MultipleFound: When several match.
            UsageError: When the conditions name another table.
        """
        found = await self.one_or_none(*where, load=load, include_deleted=include_deleted)
        if found is None:
            raise NotFound(self._name)
        return found

    async def one_or_none(
        self, *where: ColumnExpressionArgument[bool], load: Sequence[Load] = (), include_deleted: bool = False
    ) -> M | None:
        """Return the only row that matches, or ``None``.

        Raises:
            MultipleFound: When several match.
            UsageError: When the conditions name another table.
        """
        load = listed(load)
        statement = self._select(where, load, include_deleted).limit(2)
        found = (await self._execute(statement, load)).scalars().unique().all()
        if len(found) > 1:
            raise MultipleFound(self._name)
        return found[0] if found else None

    async def get_many(
        self, keys: Iterable[Any], *, load: Sequence[Load] = (), include_deleted: bool = False
    ) -> list[M]:
        """Return the rows with these keys, in the order of the keys; keys without a row are left out.

        A key given twice, or two that are equal in the database ("ab" and "AB" without case), return their row twice.

        Raises:
            InvalidKey: When a key has another shape or type than the model's.
            MultipleFound: When two tables have it.
        """
        identities = self._keys.identities(keys)
        distinct, columns, options = list(dict.fromkeys(identities)), self._keys.columns, listed(load)
        found: dict[tuple[Any, ...], M] = {}
        for part in portions(distinct, len(columns), values=_VALUES_AT_ONCE):
            statement = self._select([among(columns, part)], options, include_deleted)
            for row in (await self._execute(statement, options)).scalars().unique():
                if found.setdefault(sa_inspect(row, raiseerr=True).identity, row) is not row:
                    raise MultipleFound(self._name)
        if found and not self._keys.are_exact:
            await self._match(found, [identity for identity in distinct if identity not in found])
        return [found[identity] for identity in identities if identity in found]

    async def _match(self, found: dict[tuple[Any, ...], M], unmatched: list[tuple[Any, ...]]) -> None:
        """Match the remaining keys to the rows in the database, which may consider keys equal that differ in Python."""
        rows = dict(found)
        for statement in self._keys.pairs(unmatched):
            for place, *identity in await self.session.execute(statement, bind_arguments={"mapper": self._mapper}):
                if (row := rows.get(tuple(identity))) is not None:
                    found[unmatched[place]] = row

    async def get_all(
        self,
        *where: ColumnExpressionArgument[bool],
        order_by: OrderBy = (),
        skip: int = 0,
        limit: int | None = None,
        load: Sequence[Load] = (),
        include_deleted: bool = False,
    ) -> list[M]:
        """Return the rows that match, in a fixed order; *skip* and *limit* select a numbered page.

        The database also reads the rows that *skip* leaves out. To read a whole list, `page` is faster and complete.

        Raises:
            InvalidValue: When *skip* or *limit* is negative, or does not fit 64 bits.
            UsageError: When the conditions name another table.
        """
        check_bound("skip", skip, least=0)
        if limit is not None:
            check_bound("limit", limit, least=0)
        load = listed(load)
        statement = self._select(where, load, include_deleted).order_by(*self._keyset(order_by).order())
        inner = self.session.sync_session
        found = await self._execute(windowed(inner, statement, skip=skip, limit=limit), load)
        rows = found.scalars().unique().all()
        is_whole = limit is None and not skip and isinstance(order_by, list | tuple) and not order_by
        return list(rows) if is_whole else in_order(inner, rows, skip=skip)

    async def page(
        self,
        *where: ColumnExpressionArgument[bool],
        order_by: OrderBy = (),
        size: int = 50,
        after: str | None = None,
        before: str | None = None,
        load: Sequence[Load] = (),
        include_deleted: bool = False,
    ) -> Page[M]:
        """Return one page and the cursors to its neighbours; inserts and deletes between two pages shift no row.

        *order_by* takes columns of the model; rows with equal values are ordered by the key, and NULL comes last. Pass
        the same conditions and order with each cursor. Set ``cursor_secret`` on the class to sign the cursors.

        Raises:
            InvalidCursor: When the cursor is damaged, made up, or belongs to another list.
            InvalidValue: When *size* is not positive, or both cursors are given.
            UsageError: When the conditions name another table.
        """
        keyset, load = self._keyset(order_by), listed(load)
        statement = self._select(where, load, include_deleted)
        paged = keyset.select(statement, size=size, after=after, before=before)
        rows = in_order(self.session.sync_session, keyset.rows(await self._execute(paged, load)))
        return keyset.page(statement, rows, size=size, after=after, before=before)

    async def iterate(
        self,
        *where: ColumnExpressionArgument[bool],
        order_by: OrderBy = (),
        load: Sequence[Load] = (),
        batch: int = 1_000,
        include_deleted: bool = False,
    ) -> AsyncIterator[M]:
        """Yield the rows that match, *batch* at a time, so that memory stays bounded: ``async for row in …``.

        Each batch is one statement that continues after the last row of the batch before, like `page`. Between batches
        you can use the session, and inserts and deletes shift no row. The batches see one snapshot only if the
        transaction does. For another order than that of the key, create an index; otherwise each batch sorts the table.
        ``session.stream_scalars()`` instead sends one statement and keeps its cursor open on the server. It sees one
        snapshot, and keeps the connection, and on MariaDB the session, busy until its last row.

        Raises:
            InvalidValue: When *batch* is not positive.
            UsageError: When the conditions name another table.
        """
        check_bound("batch", batch, least=1)
        keyset, load = self._keyset(order_by), listed(load)
        statement = self._select(where, load, include_deleted)
        after: str | None = None
        while True:
            found = await self._execute(keyset.select(statement, size=batch, after=after), load)
            rows = in_order(self.session.sync_session, keyset.rows(found))
            page = keyset.page(statement, rows, size=batch, after=after)
            for row in page:
                yield row
            if page.next is None:
                return
            after = page.next

    async def count(self, *where: ColumnExpressionArgument[bool], include_deleted: bool = False) -> int:
        """Return how many rows match.

        Raises:
            UsageError: When the conditions name another table.
        """
        refuse_other_than_conditions(self.model, where)
        statement = select(func.count()).select_from(self.model).where(*where)
        refuse_other_tables(self._mapper, statement.whereclause)
        return sum(await self.session.scalars(statement, execution_options=_shown(include_deleted)))  # of shards

    async def exists(self, *where: ColumnExpressionArgument[bool], include_deleted: bool = False) -> bool:
        """Return whether a row matches; the database stops at the first match.

        Raises:
            UsageError: When the conditions name another table.
        """
        refuse_other_than_conditions(self.model, where)
        statement = select(1).select_from(self.model).where(*where).limit(1)
        refuse_other_tables(self._mapper, statement.whereclause)
        return await self.session.scalar(statement, execution_options=_shown(include_deleted)) is not None

    @property
    def _name(self) -> str:
        return self.model.__name__

    def _select(
        self, where: Iterable[ColumnExpressionArgument[bool]], load: Iterable[Load], include_deleted: bool
    ) -> Select[M]:
        options = loader_options(load, self.model)
        refuse_joins(options)
        refuse_other_than_conditions(self.model, where)
        statement = select(self.model).where(*where).options(*options)
        refuse_other_tables(self._mapper, statement.whereclause)
        return statement.execution_options(**_shown(include_deleted))

    def _keyset(self, order_by: OrderBy) -> Keyset:
        terms = order_by if isinstance(order_by, (list, tuple)) else (order_by,)
        dialect = dialect_of(self.session.sync_session, self._mapper)
        return Keyset(self.model, terms, secret=self.cursor_secret, dialect=dialect)

    async def _load(self, identity: tuple[Any, ...], load: list[Load], include_deleted: bool) -> M | None:
        condition = self._keys.equal(identity)
        statement = self._select(condition, load, include_deleted)
        held = self.session.sync_session.identity_map.get(self._mapper.identity_key_from_primary_key(identity))
        result = await self._execute(statement, load, held=held)
        return result.scalars().unique().one_or_none()

    async def _execute(self, statement: Select[Any], load: Iterable[Load], *, held: Any = None) -> Result[Any]:
        with reloading(self.session.sync_session, load, held=held) if load else nullcontext():
            try:
                result: Result[Any] = await self.session.execute(statement)
            except SQLAlchemyError as error:
                refuse_options(statement, error)
                raise
        return result

    @cached_property
    def _keys(self) -> RowKeys:
        return keys_of(self._mapper, dialect_of(self.session.sync_session, self._mapper))

    def _column(self, name: str) -> Any:
        column = getattr(self.model, name, None)
        if column is None:
            raise NotSupported(f"{self._name} has no {name}.", hint="Give the model the DualIDMixin.")
        return column


def _shown(include_deleted: bool) -> dict[str, bool]:
    if not isinstance(include_deleted, bool):
        # The string "false" from a URL would count as true.
        raise InvalidValue(f"include_deleted= is True or False, not {shown(include_deleted)}.")
    # No option instead of False, which would take precedence over a session that shows deleted rows.
    return {"include_deleted": True} if include_deleted else {}
