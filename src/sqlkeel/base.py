"""The declarative base: names for constraints, exact types, a repr that loads nothing."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import JSON, MetaData, Text, Uuid, event, inspect
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, registry

from .naming import metadata_with_names
from .types import Money, UTCDateTime

__all__ = ["Base"]


class Base(AsyncAttrs, DeclarativeBase):
    """The class that a project's own base inherits from: ``class Base(sqlkeel.Base): ...``.

    Each direct subclass has a metadata and a registry of its own, so that two applications, or two tests, do not share
    tables. Annotations become columns that lose nothing: ``datetime`` an aware moment, ``Decimal`` an exact amount,
    ``dict[str, Any]`` JSON (``jsonb`` on PostgreSQL), ``str`` text without a limit (give ``String(320)`` where there is
    one, and always for a key or an index on MariaDB).
    """

    metadata: ClassVar[MetaData] = metadata_with_names()
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UTCDateTime(),
        Decimal: Money(),
        str: Text(),
        uuid.UUID: Uuid(),
    }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make a direct subclass without a table the base of a project."""
        if Base in cls.__bases__ and not {"__tablename__", "__table__"} & cls.__dict__.keys():
            _make_base(cls)
        super().__init_subclass__(**kwargs)

    def __repr__(self) -> str:
        """Name the class and the key; never touch the database."""
        identity = inspect(self).identity
        key = "new" if identity is None else ", ".join(map(str, identity))
        return f"<{type(self).__name__} {key}>"


def _make_base(cls: type[Base]) -> None:
    # Imported here: the dialect costs a tenth of the time of `import sqlkeel`.
    from sqlalchemy.dialects.postgresql import JSONB

    own = cls.__dict__
    document = JSON().with_variant(JSONB(), "postgresql")
    cls.__abstract__ = True
    cls.metadata = own.get("metadata") or metadata_with_names()
    cls.type_annotation_map = {
        **Base.type_annotation_map,
        dict[str, Any]: document,
        **own.get("type_annotation_map", {}),
    }
    cls.registry = registry(metadata=cls.metadata, type_annotation_map=cls.type_annotation_map)
    # SQLAlchemy keeps the registry of a declarative base under this name too, and has no public way to set it.
    cls._sa_registry = cls.registry
    # The relations write ON DELETE into the foreign keys when the mappers are configured: before any table is made.
    event.listen(cls.metadata, "before_create", lambda *_, **__: cls.registry.configure())
