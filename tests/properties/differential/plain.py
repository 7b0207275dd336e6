"""The same verbs as one would write them with plain SQLAlchemy, one object at a time: what ours is compared with."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import inspect as sa_inspect
from sqlalchemy import null, orm, select
from sqlalchemy.orm.attributes import flag_modified

from sqlkeel.errors import InvalidValue, NotFound, UnknownField, VersionConflict
from tests.properties.differential.cases import Case, Step
from tests.properties.differential.models import Made
from tests.properties.differential.ours import change
from tests.properties.differential.state import raw_rows

__all__ = ["do", "new", "plant"]


def plant(session: orm.Session, case: Case) -> None:
    """Store the rows that a case begins with."""
    if case.made.owner is not None:
        session.add_all([case.made.owner(id=number, name=f"owner {number}") for number in (1, 2, 3)])
        session.flush()
    old = datetime(2020, 1, 1, tzinfo=UTC)
    for number, row in enumerate(case.rows):
        values = dict(row)
        if "timestamp" in case.made.plan.mixins:
            values |= {"created_at": old, "updated_at": old}
        if number in case.deleted:
            values |= {"deleted_at": old, "deletion_id": UUID(int=number + 1)}
        session.add(new(case.class_of(number), values))
        session.flush()


def new(model: type[Any], values: Mapping[str, Any]) -> Any:
    """Make an object with these values, of which ``None`` is NULL even where there is a default."""
    given = {name: _null(model, name) if value is None else value for name, value in values.items()}
    if not dataclasses.is_dataclass(model):
        return model(**given)
    accepted = {one.name for one in dataclasses.fields(model) if one.init}
    made: Any = model(**{name: value for name, value in given.items() if name in accepted})
    for name in given.keys() - accepted:
        setattr(made, name, given[name])
    return made


def _null(model: type[Any], name: str) -> Any:
    column: Any = sa_inspect(model).column_attrs[name].columns[0]
    has_default = column.default is not None or column.server_default is not None
    return null() if has_default and not column.type.should_evaluate_none else None


def do(case: Case, step: Step, session: orm.Session) -> Any:
    """Do one step; return what `ours.do` returns."""
    return getattr(_Verbs(case, step, session), step.verb)()


class _Verbs:
    def __init__(self, case: Case, step: Step, session: orm.Session) -> None:
        self.case = case
        self.made: Made = case.made
        self.step = step
        self.session = session
        self.model = case.made.model

    def insert_many(self) -> Any:
        """Insert the rows, those of the same fields together: so new ones get the keys of ours, by which lists go."""
        self._check(*self.step.rows)
        groups: dict[frozenset[str], list[dict[str, Any]]] = {}
        for row in self.step.rows:
            groups.setdefault(frozenset(row), []).append(row)
        return len([self._add(row) for group in groups.values() for row in group])

    def insert_many_returning(self) -> Any:
        """Insert the rows and return the objects."""
        self._check(*self.step.rows)
        return [self._add(row) for row in self.step.rows]

    def create(self) -> Any:
        """Insert one."""
        self._check(*self.step.rows)
        obj = self.model(**self.step.rows[0])
        self.session.add(obj)
        self.session.flush()
        return obj

    def update_many(self) -> Any:
        """Update rows by key."""
        self._check(*self.step.rows)
        version = self.made.version
        groups = self._rounds()
        for group in groups:
            found = [(row, self._find(self.made.key, row)) for row in group]
            for row, obj in found:
                if version in row and (obj is None or getattr(obj, version) != row[version]):
                    raise VersionConflict(self.made.name, None, expected=1, current=None, current_row=None)
            if any(obj is None for _, obj in found):
                raise NotFound(self.made.name)
            for row, obj in found:
                self._write(obj, {name: v for name, v in row.items() if name not in {*self.made.key, version}})
        return sum(map(len, groups))

    def update(self) -> Any:
        """Change one object."""
        obj = self._find(self.made.key, self._planted())
        if obj is None:
            return None
        self._check(*self.step.rows)
        for name, value in self.step.rows[0].items():
            setattr(obj, name, value)
        self.session.flush()
        return obj

    def upsert_many(self) -> Any:
        """Insert or update rows."""
        counts = {"inserted": 0, "updated": 0, "unchanged": 0}
        self._check(*self.step.rows)
        for row in self.step.rows:
            self._refuse_null(row)
        for row in self._in_turns():
            counts[self._upsert(row, always=False)[1]] += 1
        counts["unchanged"] += len(self.step.rows) - sum(counts.values())
        return tuple(counts.values())

    def upsert(self) -> Any:
        """Insert or update one row."""
        row = self.step.rows[0]
        self._check(row)
        self._refuse_null(row)
        obj, what = self._upsert(row, always=True)
        return obj, what == "inserted"

    def get_or_create(self) -> Any:
        """Find one row, or insert it."""
        return self.upsert()

    def delete_many(self) -> Any:
        """Delete rows by key."""
        return sum(self._delete(self._find(self.made.key, row)) for row in self.step.rows)

    def get_many(self) -> Any:
        """Find rows by key."""
        found = [self._find(self.made.key, row) for row in self.step.rows]
        return [obj for obj in found if obj is not None]

    def delete(self) -> Any:
        """Delete one object."""
        self._delete(self._find(self.made.key, self._planted()))

    def restore(self) -> Any:
        """Bring one back."""
        obj = self._find(self.made.key, self._planted(), deleted=True)
        if obj is None:
            return
        if obj.deleted_at is None:
            raise NotFound(self.made.name)
        obj.deleted_at = obj.deletion_id = None
        self._date(obj)
        self.session.flush()

    def mutate(self) -> Any:
        """Change a value in place."""
        # Not with a SELECT, which would flush what waits and then read again what a flush expires: `Repository.get`
        # looks at what the session holds first.
        obj = self.session.get(self.model, self.case.key_of(self.step.row))
        if obj is not None and not (self.made.soft and obj.deleted_at is not None):
            change(getattr(obj, self.step.on[0], None))
            self.session.flush()

    def get_all(self) -> Any:
        """Return a part of the list."""
        return self._ordered(skip=self.step.size - 1, limit=self.step.size + 2)

    def page(self) -> Any:
        """Return all pages."""
        return self._ordered()

    def stream(self) -> Any:
        """Return all rows."""
        return self._ordered()

    # --- private ---

    def _rounds(self) -> list[list[dict[str, Any]]]:
        """Return the rows in groups of the same fields: of two with one key, the last comes last."""
        last: dict[Any, dict[str, Any]] = {}
        for row in self.step.rows:
            one = repr([row[name] for name in self.made.key]), frozenset(row)
            last.pop(one, None)
            last[one] = row
        groups: dict[Any, list[dict[str, Any]]] = {}
        met: Counter[str] = Counter()
        for (key, fields), row in last.items():
            groups.setdefault((met[key], fields), []).append(row)
            met[key] += 1
        return [groups[one] for one in sorted(groups, key=lambda one: one[0])]

    def _in_turns(self) -> list[dict[str, Any]]:
        """Return the rows as ours takes them, so that new rows get the same keys, by which equal ones are listed.

        Of the rows of a key, in their order, those count that have other fields than the next one that counts: the
        first, which makes the row, and the last of each set of fields. All callers have one order in common.
        """
        keyed: dict[str, list[dict[str, Any]]] = {}
        for row in self.step.rows:
            keyed.setdefault(repr([row[name] for name in self.step.on]), []).append(row)
        turns: list[tuple[int, list[str], dict[str, Any]]] = []
        for rows in keyed.values():
            last = {frozenset(row): n for n, row in enumerate(rows)}
            kept = [row for n, row in enumerate(rows) if n in {0, *last.values()}]
            pairs = zip(kept, [*kept[1:], {}], strict=True)
            turns += [
                (n, sorted(row), row) for n, row in enumerate(r for r, after in pairs if r.keys() != after.keys())
            ]
        return [row for _, _, row in sorted(turns, key=lambda turn: turn[:2])]

    def _ordered(self, *, skip: int | None = None, limit: int | None = None) -> list[Any]:
        terms: list[Any] = []
        if self.step.order is not None:
            name, down = self.step.order
            attribute = getattr(self.model, name)
            # Written here and not taken from us: NULL comes last, on every database.
            terms = [attribute.is_(None), attribute.desc() if down else attribute.asc()]
        terms += [getattr(self.model, name) for name in self.made.key]
        statement = select(self.model).order_by(*terms).offset(skip).limit(limit)
        if self.made.soft:
            statement = statement.where(self.model.deleted_at.is_(None))
        return list(self.session.scalars(statement))

    def _planted(self) -> dict[str, Any]:
        return self.case.rows[self.step.row]

    def _check(self, *rows: Mapping[str, Any]) -> None:
        for row in rows:
            for name in row:
                if name not in self.made.fields and name != self.made.version:
                    raise UnknownField(name)

    def _refuse_null(self, row: Mapping[str, Any]) -> None:
        if any(row[name] is None for name in self.step.on):
            raise InvalidValue("None")

    def _find(self, names: tuple[str, ...], row: Mapping[str, Any], *, deleted: bool = False) -> Any:
        statement = select(self.model).where(*(getattr(self.model, name) == row[name] for name in names))
        if self.made.soft and not deleted:
            statement = statement.where(self.model.deleted_at.is_(None))
        return self.session.scalars(statement).one_or_none()

    def _add(self, row: Mapping[str, Any]) -> Any:
        obj = new(self.model, row)
        self.session.add(obj)
        self.session.flush()
        return obj

    def _write(self, obj: Any, values: Mapping[str, Any]) -> None:
        """Write all of these, changed or not."""
        for name, value in values.items():
            setattr(obj, name, value)
            flag_modified(obj, name)
        self.session.flush()

    def _upsert(self, row: Mapping[str, Any], *, always: bool) -> tuple[Any, str]:
        obj = self._find(self.step.on, row)
        if obj is None:
            return self._add(row), "inserted"
        chosen = row if self.step.update is None else self.step.update
        fixed = {*self.step.on, *self.made.key, self.made.version}
        assigned = {name: row[name] for name in chosen if name not in fixed}
        if not assigned:
            return obj, "unchanged"
        before = self._stored(assigned)
        savepoint = self.session.begin_nested()
        self._write(obj, assigned)
        if always or self._stored(assigned) != before:
            savepoint.commit()
            return obj, "updated"
        savepoint.rollback()
        return obj, "unchanged"

    def _stored(self, names: Mapping[str, Any]) -> list[Any]:
        mapper = sa_inspect(self.model)
        columns = {column.name for name in names for column in mapper.column_attrs[name].columns}
        rows = [row for table in raw_rows(self.session.connection(), self.made).values() for row in table]
        return sorted(repr({name: row[name] for name in columns if name in row}) for row in rows)

    def _delete(self, obj: Any) -> int:
        if obj is None:
            return 0
        if self.made.soft:
            obj.deleted_at, obj.deletion_id = datetime.now(UTC), UUID(int=2**100)
            self._date(obj)
        else:
            self.session.delete(obj)
        self.session.flush()
        return 1

    def _date(self, obj: Any) -> None:
        """Let the other tables of the row date the change of its mark, as we have them do."""
        for attribute in sa_inspect(obj).mapper.column_attrs:
            column = attribute.columns[0]
            onupdate = getattr(column, "onupdate", None)
            if onupdate is not None and onupdate.is_clause_element and column.table is not self.model.deleted_at.table:
                setattr(obj, attribute.key, onupdate.arg)
