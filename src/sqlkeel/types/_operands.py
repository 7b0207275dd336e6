"""Check and bind the operands next to an exact number, a datetime or a choice when a statement is compiled."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BinaryExpression, BindParameter, Case, Cast, Dialect, Function, type_coerce
from sqlalchemy.sql.functions import ReturnTypeFromArgs
from sqlalchemy.types import NullType

from .. import _sqlalchemy as private
from ._choice import Choice
from ._exact import ExactNumeric, UTCDateTime, meaningless, scale_of
from ._times import Duration, PlainDate, PlainTime

__all__ = ["check_operands"]

_CHECKED: Final = (Choice, Duration, ExactNumeric, PlainDate, PlainTime, UTCDateTime)
"""The types that check bound values."""


def check_operands(dialect: Dialect) -> None:
    """Make the compiler of one engine check the operands in its statements.

    A type sees only the operand to the right of its column. It sees neither a column to its left, nor the values in
    COALESCE or CASE, which SQLAlchemy binds by their Python type.
    """
    usual = dialect.statement_compiler
    exact = _SQLiteOperands if dialect.name == "sqlite" else _Operands
    private.compile_by(dialect, type(usual.__name__, (exact, usual), {}))


class _Operands:
    """The part of the compiler that is the same for every database."""

    def visit_binary(self, binary: BinaryExpression[Any], **kw: Any) -> Any:
        for one, other in ((binary.left, binary.right), (binary.right, binary.left)):
            if isinstance(one.type, ExactNumeric) and binary.operator is not None:
                refusal = one.type.refusal_between(binary.operator, other)
                if refusal is not None:
                    raise refusal
        return super().visit_binary(binary, **kw)  # type: ignore[misc]  # the compiler's, which stands behind

    def visit_function(self, func: Function[Any], **kw: Any) -> Any:
        if isinstance(func, ReturnTypeFromArgs) and isinstance(func.type, _CHECKED):
            func = type(func)(*(_checked(one, func.type) for one in func.clauses), type_=func.type)
        return super().visit_function(func, **kw)  # type: ignore[misc]

    def visit_case(self, clause: Case[Any], **kw: Any) -> Any:
        if isinstance(clause.type, _CHECKED):
            whens = [(condition, _checked(result, clause.type)) for condition, result in clause.whens]
            clause = Case(*whens, value=clause.value, else_=_checked(clause.else_, clause.type))
        return super().visit_case(clause, **kw)  # type: ignore[misc]


class _SQLiteOperands(_Operands):
    """The compiler for SQLite, which stores exact numbers as integer counts of their smallest unit."""

    def visit_function(self, func: Function[Any], **kw: Any) -> Any:
        scales = {scale for one in func.clauses if (scale := scale_of(one)) is not None}
        if func.name == "avg" and scales:
            raise meaningless("avg()", hint="Use func.sum() and func.count(), and divide and round in Python.")
        unknown = isinstance(func.type, NullType) or (isinstance(func, ReturnTypeFromArgs) and scale_of(func) is None)
        if len(scales) > 1 or (scales and unknown):
            raise meaningless(
                f"{func.name}()", hint=f"Write func.{func.name}(..., type_=Money()) if the result is an amount."
            )
        return super().visit_function(func, **kw)

    def visit_case(self, clause: Case[Any], **kw: Any) -> Any:
        results = [clause, clause.else_, *(result for _, result in clause.whens)]
        known = [_checked(one, clause.type) if scale_of(clause) is not None else one for one in results]
        if len({scale_of(one) for one in known if one is not None and not isinstance(one.type, NullType)}) > 1:
            raise meaningless(
                "CASE", hint="Give all its results the same type, including the first: literal(0, Money())."
            )
        return super().visit_case(clause, **kw)

    def visit_cast(self, cast: Cast[Any], **kw: Any) -> Any:
        if scale_of(cast) != scale_of(cast.clause) and not isinstance(cast.clause.type, NullType):
            raise meaningless("CAST")
        return super().visit_cast(cast, **kw)  # type: ignore[misc]


def _checked(operand: Any, kind: Any) -> Any:
    """Bind a plain value with the type of its neighbour; SQLAlchemy does that only for operators."""
    plain = isinstance(operand, BindParameter) and not isinstance(operand.type, type(kind))
    return type_coerce(operand, kind) if plain else operand
