"""Columns of mixins that work in every kind of model, including dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import get_annotations
from typing import Any, NoReturn, TypeVar, cast

from sqlalchemy import Column, DateTime, Table, event
from sqlalchemy.orm import Mapped, MappedColumn, Mapper, declared_attr, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from .. import _sqlalchemy as private
from ..errors import ConfigurationError, NotSupported

__all__ = ["mixed_column", "with_columns"]

_C = TypeVar("_C", bound=type[Any])


class _NoFields:
    """Dataclass fields of a mixin that is not a dataclass; reading them raises AttributeError.

    SQLAlchemy treats the columns of a mixin as dataclass fields only if ``__dataclass_fields__`` is in the mixin's own
    ``__dict__``. If the fields could be read, pydantic and FastAPI would see every model as a dataclass, and would
    write all its columns into a response.
    """

    def __get__(self, instance: object, owner: type[Any] | None = None) -> NoReturn:
        raise AttributeError("__dataclass_fields__")


def mixed_column(*args: Any, **options: Any) -> Mapped[Any]:
    """Declare a column of a mixin; in a dataclass model it becomes a field that ``__init__`` does not accept.

    The arguments are those of ``mapped_column``; use ``insert_default`` for a callable default.
    """

    def column(model: type[Any]) -> Column[Any] | MappedColumn[Any]:
        table = vars(model).get("__table__")
        if table is not None and column.__name__ in table.c:
            return cast("Column[Any]", table.c[column.__name__])
        # SQLAlchemy refuses this option in a model that is not a dataclass.
        field: dict[str, Any] = {"init": False} if private.makes_dataclass(model) else {}
        return mapped_column(*args, **options, **field)

    declared: Any = declared_attr(column)
    declared.fget.__dict__["kind"] = next((one for one in args if isinstance(one, TypeEngine)), None)
    return declared  # type: ignore[no-any-return]  # to type checkers it is what a model makes of it


def with_columns(mixin: _C) -> _C:
    """Let `mixed_column` create the columns of *mixin*; using it in an SQLModel class raises a clear error."""
    kind: type[Any] = mixin

    def begin(model: type[Any], /, **options: Any) -> None:
        # When the class is created, because pydantic would fail next, with misleading advice.
        if any(one.__module__ == "pydantic.main" for one in model.__mro__):
            raise NotSupported(
                f"{model.__name__} cannot have the {mixin.__name__}: its columns are not pydantic fields.",
                hint="Declare the columns as fields, or derive it from sqlkeel.Base.",
            )
        super(kind, model).__init_subclass__(**options)

    if "__init_subclass__" not in vars(mixin):  # otherwise the mixin's own calls begin()
        mixin.__init_subclass__ = classmethod(begin)  # type: ignore[assignment]
    kinds: dict[str, TypeEngine[Any] | None] = {}
    for name, annotation in get_annotations(mixin).items():
        declared: Any = vars(mixin).get(name)
        if isinstance(declared, declared_attr):
            declared.fget.__name__ = name
            declared.fget.__annotations__["return"] = annotation
            kinds[name] = vars(declared.fget)["kind"]
    mixin.__dataclass_fields__ = _NoFields()

    def check(mapper: Mapper[Any], model: type[Any]) -> None:
        if isinstance(mapper.local_table, Table):
            _refuse_other_columns(mapper, mixin, kinds)

    event.listen(mixin, "after_mapper_constructed", check, propagate=True)
    return mixin


def _refuse_other_columns(mapper: Mapper[Any], mixin: type[Any], kinds: Mapping[str, TypeEngine[Any] | None]) -> None:
    """Refuse an imperative or reflected table that lacks the mixin's columns or has incompatible ones."""
    declares = hasattr(mapper.class_, "__tablename__")  # then the model declares what it wants, and that wins
    for name, kind in kinds.items():
        found = mapper.columns.get(name)
        if found is None or not (declares or _holds(found.type, kind)):
            what = "has no" if found is None else f"has a column of {found.type!r} as"
            raise ConfigurationError(
                f"{mapper.class_.__name__} has the {mixin.__name__}, and its table {what} {name}.",
                hint=f"Table(..., Column({name!r}, {kind!r})): with autoload_with= it replaces the reflected column.",
            )


def _holds(found: TypeEngine[Any], kind: TypeEngine[Any] | None) -> bool:
    """Return whether a column can hold the mixin's values; SQLite reflects a UUID as text."""
    if kind is None or isinstance(found, TypeDecorator):
        return True
    if isinstance(kind, TypeDecorator):  # UTCDateTime is the only one of them
        return isinstance(found, DateTime) and found.timezone
    try:
        return issubclass(found.python_type, kind.python_type)
    except NotImplementedError:
        return True
