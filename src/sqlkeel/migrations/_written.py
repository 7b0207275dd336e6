"""SQL for a file: without the escapes of the current driver, and with those of ``text()``."""

from __future__ import annotations

import copy
import re
from typing import Any, Final

from sqlalchemy import Column, Computed, DefaultClause, Dialect, TextClause, text

from .. import _sqlalchemy as private

__all__ = ["PLAIN", "WritesText", "literal_text", "plain", "without_parameters"]

PLAIN: Final = "named"
"""A parameter style that escapes nothing; the style ``format`` of a driver doubles each ``%``."""


def plain(dialect: Dialect) -> Dialect:
    """Return a dialect that compiles the same SQL for a file, with single ``%`` characters.

    The dialect of the connection, which compiles what is sent, is not changed.
    """
    other: Any = copy.copy(dialect)
    other.paramstyle, other.positional = PLAIN, False
    # Each of these was created for the first style: the preparer, the type compiler, literals of types.
    other.identifier_preparer = other.preparer(other)
    other.type_compiler_instance = other.type_compiler_cls(other)
    private.forget_literals(other)
    return other  # type: ignore[no-any-return]


# What text() would read as a parameter, and as an escaped colon.
_PARAMETER: Final = re.compile(r"(?<![:\w\\]):\w+(?![:\w])")
_ESCAPED: Final = re.compile(r"(?<![:\w\\]):\w+(?![:\w])|\\:\w*(?![:\w])")


def literal_text(sql: str) -> str:
    """Return *sql* escaped for text(), so that text() finds no parameter in it."""
    return _ESCAPED.sub(r"\\\g<0>", sql)


class WritesText:
    """The part of an Alembic implementation that escapes SQL in ``text()``, so that it has no parameters."""

    def autogen_column_reflect(self, inspector: Any, table: Any, column_info: Any) -> None:
        """Escape reflected SQL: text() would replace a word after a colon by NULL, and lose a backslash before it."""
        theirs: Any = super()
        theirs.autogen_column_reflect(inspector, table, column_info)
        for holder, key in ((column_info, "default"), (column_info.get("computed") or {}, "sqltext")):
            if isinstance(holder.get(key), str):
                holder[key] = literal_text(holder[key])

    def render_ddl_sql_expr(
        self, expr: Any, is_server_default: bool = False, is_index: bool = False, **options: Any
    ) -> str:
        """Escape colons that text() would read as parameters without a value and render as NULL."""
        theirs: Any = super()
        written: str = theirs.render_ddl_sql_expr(_unbound(expr), is_server_default, is_index=is_index, **options)
        # The expression of an index is rendered as literal_column(), which has no parameters.
        return written if is_index else literal_text(written)


def without_parameters(column: Column[Any]) -> Column[Any]:
    """Return a copy of a column whose default and expression have no parameters.

    SQLAlchemy reads ``text("'a :b'")`` as a parameter and would render NULL for it.
    """
    default, other = column.server_default, copy.copy(column)
    if isinstance(default, Computed):
        other.computed = copy.copy(default)
        other.computed.sqltext = _unbound(default.sqltext)
        other.server_default = other.computed
    elif isinstance(default, DefaultClause):
        other.server_default = DefaultClause(_unbound(default.arg))
    return other


def _unbound(expr: Any) -> Any:
    """Return reflected SQL with the parameters that SQLAlchemy saw in it turned back into text."""
    if not isinstance(expr, TextClause) or not any(one.required for one in expr.compile().binds.values()):
        return expr
    return text(_PARAMETER.sub(r"\\\g<0>", expr.text))
