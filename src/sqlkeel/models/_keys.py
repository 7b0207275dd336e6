"""Primary keys: a plain integer, a UUID, or an integer inside with a UUID outside."""

from __future__ import annotations

import sys
import uuid
from typing import Any, ClassVar, Final, Self

from sqlalchemy import BigInteger, Identity, Integer, Uuid, event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, Mapper
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from ..errors import ConfigurationError, NotSupported
from ._mixed_columns import mixed_column, with_columns
from ._public_ids import PublicID, prefix_of, public_id_of

__all__ = ["DualIDMixin", "IntKeyMixin", "UUIDKeyMixin", "server_uuid7", "uuid7"]

_FIRST_WITH_UUID7: Final = (18,)

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils.compat import uuid7


@with_columns
class IntKeyMixin:
    """A 64-bit integer that the database counts up: the smallest key and the fastest join.

    Do not show it to the outside: it tells how many rows there are and invites guessing. `DualIDMixin` is for that.
    """

    # SQLite counts only a column of exactly the type INTEGER.
    id: Mapped[int] = mixed_column(
        BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True, sort_order=-100
    )


@with_columns
class UUIDKeyMixin:
    """A UUIDv7 made by the client: known before the insert, unique over machines, ordered by time.

    Version 7 (RFC 9562, 5.7) keeps new rows together in the index, where random version 4 keys spread over all of it.
    It shows the row's creation time to whoever sees it.
    """

    id: Mapped[uuid.UUID] = mixed_column(Uuid(), primary_key=True, insert_default=uuid7, sort_order=-100)


@with_columns
class DualIDMixin(IntKeyMixin):
    """An integer ``id`` for joins and foreign keys, a UUIDv7 ``public_id`` for everything outside.

    The small key stays in the indexes; addresses, responses and logs carry one that cannot be counted or guessed. With
    ``__public_prefix__ = "usr"`` it is written ``usr_01h455vb4pex5vsknk084sn02q``; the database keeps the UUID.

    Raises:
        ConfigurationError: When the prefix is none, or another model of the same base has it, as the class is made.
    """

    __public_prefix__: ClassVar[str] = ""

    public_id: Mapped[uuid.UUID] = mixed_column(Uuid(), unique=True, insert_default=uuid7, sort_order=-99)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        prefix_of(cls)
        super().__init_subclass__(**kwargs)

    @property
    def public_ref(self) -> PublicID[Self]:
        """The public id as it is written outside: ``str(user.public_ref)``."""
        return public_id_of(type(self))(self.public_id)


@event.listens_for(DualIDMixin, "after_mapper_constructed", propagate=True)
def _own_prefix(mapper: Mapper[Any], cls: type[Any]) -> None:
    prefix = prefix_of(cls)
    for other in mapper.registry.mappers if prefix else ():
        if other.base_mapper is not mapper.base_mapper and prefix_of(other.class_) == prefix:
            raise ConfigurationError(
                f"{cls.__name__} and {other.class_.__name__} both have the __public_prefix__ {prefix!r}.",
                hint="An id says what it is of: give each model a prefix of its own.",
            )


class server_uuid7(FunctionElement[uuid.UUID]):  # noqa: N801 - reads as a SQL function
    """PostgreSQL's own ``uuidv7()``, from version 18 on: rows of other programs get their key too.

    ``id: Mapped[UUID] = mapped_column(primary_key=True, server_default=server_uuid7())``. It is in the order of time
    for each connection, while `uuid7` is so for the whole process, and costs no round trip.

    Raises:
        NotSupported: When it is compiled for a database without such a function: no other one is put in its place.
    """

    type = Uuid()
    name = "server_uuid7"
    inherit_cache = True


@compiles(server_uuid7)
def _no_uuid7(element: server_uuid7, compiler: SQLCompiler, **kw: Any) -> str:
    raise _unknown(compiler.dialect.name)


@compiles(server_uuid7, "postgresql")
def _postgresql_uuid7(element: server_uuid7, compiler: SQLCompiler, **kw: Any) -> str:
    # Known once a connection was made; text for nobody in particular is written for the newest.
    version = getattr(compiler.dialect, "server_version_info", None)
    if version is not None and version < _FIRST_WITH_UUID7:
        raise _unknown(f"PostgreSQL {'.'.join(map(str, version))}")
    return "uuidv7()"


def _unknown(server: str) -> NotSupported:
    return NotSupported(
        f"server_uuid7() is PostgreSQL's uuidv7(), from version 18 on; this is {server}.",
        hint="default=uuid7: the program makes the key, as UUIDKeyMixin does.",
    )
