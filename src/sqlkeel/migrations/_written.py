"""SQL as it is written into a file: without the escapes of the driver at hand, and with those of ``text()``."""

from __future__ import annotations

import copy
import re
from typing import Any, Final

from sqlalchemy import Column, Computed, DefaultClause, Dialect, TextClause, text

from .. import _sqlalchemy as private

__all__ = ["PLAIN", "WritesText", "literal_text", "plain", "without_parameters"]

PLAIN: Final = "named"
"""The style of parameters that escapes nothing; for a driver of the style ``format`` each ``%`` is doubled."""


def plain(dialect: Dialect) -> Dialect:
    """Return a dialect that writes the same SQL for a file, where a ``%`` stands for itself.

    What is sent goes by the dialect of the connection, which is not changed.
    """
    other: Any = copy.copy(dialect)
    other.paramstyle, other.positional = PLAIN, False
    # Each of these holds what was made for the first style: the preparer, the types' compiler, literals of types.
    other.identifier_preparer = other.preparer(other)
    other.type_compiler_instance = other.type_compiler_cls(other)
    private.forget_literals(other)
    return other  # type: ignore[no-any-return]


# What text() takes for a parameter; and what it takes for an escaped colon.
_PARAMETER: Final = re.compile(r"(?<![:\w\\]):\w+(?![:\w])")
_ESCAPED: Final = re.compile(r"(?<![:\w\\]):\w+(?![:\w])|\\:\w*(?![:\w])")


def literal_text(sql: str) -> str:
    """Return *sql* as text() takes it, with no parameter in it."""
    return _ESCAPED.sub(r"\\\g<0>", sql)


class WritesText:
    """Part of Alembic's implementation for a database: SQL that stands in ``text()`` has no parameters."""

    def autogen_column_reflect(self, inspector: Any, table: Any, column_info: Any) -> None:
        """Escape what SQLAlchemy makes text() of: a word behind a colon would be NULL, a backslash before it lost."""
        theirs: Any = super()
        theirs.autogen_column_reflect(inspector, table, column_info)
        for holder, key in ((column_info, "default"), (column_info.get("computed") or {}, "sqltext")):
            if isinstance(holder.get(key), str):
                holder[key] = literal_text(holder[key])

    def render_ddl_sql_expr(
        self, expr: Any, is_server_default: bool = False, is_index: bool = False, **options: Any
    ) -> str:
        """Escape each colon that would be one, with no value, so that NULL would be written for it."""
        theirs: Any = super()
        written: str = theirs.render_ddl_sql_expr(_unbound(expr), is_server_default, is_index=is_index, **options)
        # The expression of an index is written as literal_column(), which has no parameters.
        return written if is_index else literal_text(written)


def without_parameters(column: Column[Any]) -> Column[Any]:
    """Return a column whose default and expression have no parameters; the models' own is not changed.

    ``text("'a :b'")`` has one by the rules of SQLAlchemy, which would write NULL for it.
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
    """Return what reflection has made of SQL that looks like a parameter, as what it was."""
    if not isinstance(expr, TextClause) or not any(one.required for one in expr.compile().binds.values()):
        return expr
    return text(_PARAMETER.sub(r"\\\g<0>", expr.text))
