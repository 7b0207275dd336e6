"""A column for one of a fixed set of values, an enumeration or a ``Literal``: plain values behind a CHECK."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal, get_args, get_origin

from sqlalchemy import CheckConstraint, Column, Dialect, Integer, String, Table, event
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeDecorator, TypeEngine

from .. import _sqlalchemy as private
from ..errors import ConfigurationError, InvalidValue, NotSupported, UnexpectedValue, shown

__all__ = ["Choice", "choice_of", "is_choice", "not_of_values"]

_MARK: Final = "sqlkeel.choice"
_COMPARISONS: Final = frozenset(
    {
        operators.eq, operators.ne, operators.in_op, operators.not_in_op, operators.is_distinct_from,
        operators.is_not_distinct_from, operators.lt, operators.le, operators.gt, operators.ge,
    }
)  # fmt: skip
_INTEGERS: Final = range(-(2**31), 2**31)


def is_choice(annotation: Any) -> bool:
    """Return whether an annotation is an enumeration or a ``Literal``."""
    return get_origin(annotation) is Literal or (isinstance(annotation, type) and issubclass(annotation, enum.Enum))


def choice_of(constraint: Any) -> Column[Any] | None:
    """Return the column whose members a CHECK enforces; ``None`` for any other constraint."""
    column: Column[Any] | None = constraint.info.get(_MARK)
    return column


class Choice(TypeDecorator[Any]):
    """One of a fixed set of values, checked in Python and by a CHECK in the database.

    ``Mapped[Status]`` and ``Mapped[Literal["draft", "live"]]`` use it. The column stores the values of an enumeration
    if all are strings, the numbers of an ``IntEnum``, and the names of any other, whose values mean nothing
    (``auto()``). It is a ``VARCHAR`` and not the database's own ENUM, so that a new member changes only the CHECK, in a
    migration that can be reverted. The column has room for longer members. On MariaDB it compares byte by byte, as
    other databases do.

    Args:
        kind: A subclass of ``enum.Enum``, or a ``Literal`` of strings or of integers.
        length: The length of the column; at least that of the longest member.

    Raises:
        NotSupported: For flags, which can be combined, and for a ``Literal`` of other types.
        ConfigurationError: When there are no members, or one is longer than *length*.
        InvalidValue: When a value that is not a member is bound; the string of a member does not count as one.
        UnexpectedValue: When the database holds a value that is not a member.
    """

    impl: Any = String
    cache_ok = True
    collation: ClassVar[str] = "utf8mb4_nopad_bin"
    """A MariaDB collation that compares byte by byte; its default ones treat ``LIVE`` and ``live`` as equal."""

    def __init__(self, kind: Any, *, length: int = 64) -> None:
        super().__init__(length)
        self.kind = kind
        self.length = length
        self.stored: Mapping[Any, str | int] = _stored(kind, length)
        self.members: Mapping[Any, Any] = {stored: member for member, stored in self.stored.items()}
        if self._counts:
            self.impl = Integer()
        event.listen(self, "after_parent_attach", _check_when_in_table)

    def __repr__(self) -> str:
        return f"Choice({getattr(self.kind, '__name__', self.kind)})"

    @property
    def python_type(self) -> type[Any]:
        """The class of the members."""
        return self.kind if isinstance(self.kind, type) else type(next(iter(self.stored)))

    @property
    def sort_key_function(self) -> Callable[[Any], Any]:  # type: ignore[override]  # a property above, too
        """Sort members by their stored values: members of an ``Enum`` have no order, but keys need one."""
        return self._store

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Compare byte by byte on MariaDB, as other databases do."""
        if self._counts:
            return dialect.type_descriptor(Integer())
        exact = self.collation if dialect.name in {"mariadb", "mysql"} else None
        return dialect.type_descriptor(String(self.length, collation=exact))

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | int | None:
        """Return the stored value of a member."""
        return None if value is None else self._store(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return the member for a stored value."""
        if value is None:
            return None
        try:
            return self.members[value]
        except KeyError:
            raise UnexpectedValue(f"The database holds {value!r}, which is not a member of {self._name}.") from None

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Bind the other side of a comparison as a member, but a pattern of LIKE as a string."""
        return self if op in _COMPARISONS else self.impl_instance.coerce_compared_value(op, value)

    @property
    def _counts(self) -> bool:
        return isinstance(next(iter(self.stored.values())), int)

    @property
    def _name(self) -> str:
        return str(getattr(self.kind, "__name__", self.kind)).removeprefix("typing.")

    def _store(self, value: Any) -> str | int:
        # Checked by class first, because a StrEnum's member equals its string, and True equals 1.
        if isinstance(value, self.python_type) and not isinstance(value, bool) and value in self.stored:
            return self.stored[value]
        raise InvalidValue(f"{shown(value)} is not a member of {self._name}.", hint=self._hint(value))

    def _hint(self, value: Any) -> str:
        """Return a hint: the member for a string or number, as code, or else all members."""
        if not (isinstance(self.kind, type) and issubclass(self.kind, enum.Enum)):
            return f"One of {', '.join(map(repr, self.stored))}."
        for member in self.kind:
            if type(value) in (str, int) and value in (member.value, member.name):
                return f"{self._name}.{member.name}, or {self._name}({member.value!r})."
        return f"One of {', '.join(f'{self._name}.{member.name}' for member in self.kind)}."


def _stored(kind: Any, length: int) -> dict[Any, str | int]:
    """Return the members and the stored value of each."""
    stored = _of_literal(kind) if get_origin(kind) is Literal else _of_enum(kind)
    if not stored:
        raise ConfigurationError(f"{kind.__name__} has no members.")
    longest = max(stored.values(), key=lambda value: len(str(value)))
    if isinstance(longest, str) and len(longest) > length:
        raise ConfigurationError(
            f"{longest!r} is longer than {length} characters.", hint=f"Choice({kind!r}, length={len(longest)})"
        )
    outside = [value for value in stored.values() if isinstance(value, int) and value not in _INTEGERS]
    if outside:
        raise NotSupported(f"{outside[0]} does not fit an INTEGER.", hint="Use BigInteger with your own CHECK.")
    return stored


def not_of_values(kind: Any) -> NotSupported:
    """Return the error for a ``Literal`` that no column can store."""
    return NotSupported(
        f"{kind} consists neither of strings nor of integers.",
        hint='Write Mapped[Literal["a", "b"] | None] for a column that may be NULL.',
    )


def _of_literal(kind: Any) -> dict[Any, str | int]:
    values = get_args(kind)
    if {type(value) for value in values} not in ({str}, {int}):
        raise not_of_values(kind)
    return dict(zip(values, values, strict=True))


def _of_enum(kind: type[enum.Enum]) -> dict[Any, str | int]:
    if issubclass(kind, enum.Flag):
        raise NotSupported(
            f"{kind.__name__} is a set of flags: its values combine members instead of being one of them.",
            hint=f"Use Mapped[int], and {kind.__name__}(number) in Python.",
        )
    if issubclass(kind, int):
        return {member: int(member) for member in kind}
    if all(isinstance(member.value, str) for member in kind):
        return {member: str(member.value) for member in kind}
    return {member: member.name for member in kind}


def _check_when_in_table(kind: Choice, column: Column[Any]) -> None:
    event.listen(column, "after_parent_attach", _add_check)


def _add_check(column: Column[Any], table: Table) -> None:
    if isinstance(column.type, Choice):
        condition = column.in_(list(column.type.stored))
        # Bound to the type, as SQLAlchemy does for Enum: otherwise a copy of the table would have the CHECK twice.
        table.append_constraint(CheckConstraint(condition, info={_MARK: column}, **private.bound_to_type()))
        if column.autoincrement == "auto":
            # SQLAlchemy would auto-increment an integer primary key, but generated numbers are not members.
            column.autoincrement = False
