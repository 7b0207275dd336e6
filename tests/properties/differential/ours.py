"""The verbs as sqlkeel does them."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from sqlkeel import Repository
from sqlkeel.bulk import insert_many_returning
from tests.properties.differential.cases import Case, Step

__all__ = ["change", "do"]


async def do(case: Case, step: Step, session: AsyncSession) -> Any:
    """Do one step; return a count, a tuple of counts, an object, a list of objects, or ``None``."""
    return await getattr(_Verbs(case, step, session), step.verb)()


class _Verbs:
    def __init__(self, case: Case, step: Step, session: AsyncSession) -> None:
        self.made = case.made
        self.step = step
        self.session = session
        self.rows: Repository[Any] = Repository(session, case.made.model)
        self.key = case.key_of(step.row) if case.rows else ()

    async def insert_many(self) -> Any:
        """Insert the rows."""
        return await self.rows.insert_many([dict(row) for row in self.step.rows])

    async def insert_many_returning(self) -> Any:
        """Insert the rows and return the objects."""
        return await insert_many_returning(self.session, self.made.model, [dict(row) for row in self.step.rows])

    async def create(self) -> Any:
        """Insert one."""
        return await self.rows.create(**self.step.rows[0])

    async def update_many(self) -> Any:
        """Update rows by key."""
        return await self.rows.update_many([dict(row) for row in self.step.rows])

    async def update(self) -> Any:
        """Change one object."""
        obj = await self.rows.get(self.key)
        return None if obj is None else await self.rows.update(obj, self.step.rows[0])

    async def upsert_many(self) -> Any:
        """Insert or update rows."""
        rows = [dict(row) for row in self.step.rows]
        return tuple(await self.rows.upsert_many(rows, on=self._attributes(self.step.on), update=self._update()))[:3]

    async def upsert(self) -> Any:
        """Insert or update one row."""
        on = self._attributes(self.step.on)
        return tuple(await self.rows.upsert(self.step.rows[0], on=on, update=self._update()))

    async def get_or_create(self) -> Any:
        """Find one row, or insert it."""
        row = dict(self.step.rows[0])
        key = {name: row.pop(name) for name in self.step.on}
        return tuple(await self.rows.get_or_create(key, row))

    async def delete_many(self) -> Any:
        """Delete rows by key."""
        return await self.rows.delete_many(self._keys())

    async def get_many(self) -> Any:
        """Find rows by key."""
        return await self.rows.get_many(self._keys())

    async def delete(self) -> Any:
        """Delete one object."""
        if (obj := await self.rows.get(self.key)) is not None:
            await self.rows.delete(obj)

    async def restore(self) -> Any:
        """Bring one back."""
        if (obj := await self.rows.get(self.key, include_deleted=True)) is not None:
            await self.rows.restore(obj)

    async def mutate(self) -> Any:
        """Change a value in place."""
        if (obj := await self.rows.get(self.key)) is not None:
            change(getattr(obj, self.step.on[0], None))
            await self.session.flush()

    async def get_all(self) -> Any:
        """Return a part of the list."""
        return await self.rows.get_all(order_by=self._order(), skip=self.step.size - 1, limit=self.step.size + 2)

    async def page(self) -> Any:
        """Return all pages."""
        found: list[Any] = []
        page = await self.rows.page(order_by=self._order(), size=self.step.size)
        found += page.items
        while page.next is not None and len(found) < 50:
            page = await self.rows.page(order_by=self._order(), size=self.step.size, after=page.next)
            found += page.items
        return found

    async def stream(self) -> Any:
        """Return all rows."""
        found: list[Any] = []
        async for obj in self.rows.iterate(order_by=self._order(), batch=self.step.size):
            found.append(obj)
            if len(found) > 50:
                break
        return found

    def _keys(self) -> list[Any]:
        keys = [tuple(row[name] for name in self.made.key) for row in self.step.rows]
        return keys if len(self.made.key) > 1 else [key for (key,) in keys]

    def _attributes(self, names: tuple[str, ...]) -> list[Any]:
        return [getattr(self.made.model, name) for name in names]

    def _update(self) -> list[Any] | None:
        return None if self.step.update is None else self._attributes(self.step.update)

    def _order(self) -> Any:
        if self.step.order is None:
            return ()
        name, down = self.step.order
        attribute = getattr(self.made.model, name)
        return [attribute.desc() if down else attribute]


def change(value: Any) -> None:
    """Change a mutable value in place."""
    if isinstance(value, dict):
        value["changed"] = "yes"
    elif isinstance(value, list):
        value.append("changed")
