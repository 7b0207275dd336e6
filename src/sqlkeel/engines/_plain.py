"""What the database refuses and nothing finer fits: a `DatabaseFault` that is also SQLAlchemy's own class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import exc

from ..errors import ConstraintViolation, DatabaseFault

__all__ = [
    "PLAIN",
    "DataFault",
    "InterfaceFault",
    "InternalFault",
    "NotSupportedFault",
    "OperationalFault",
    "ProgrammingFault",
    "RaisedFault",
    "ServerFault",
    "is_plain",
]


class DataFault(DatabaseFault, exc.DataError):
    """The database could not compute with a value."""


class InterfaceFault(DatabaseFault, exc.InterfaceError):
    """The driver was used in a way that it refuses."""


class InternalFault(DatabaseFault, exc.InternalError):
    """The database met an error of its own."""


class NotSupportedFault(DatabaseFault, exc.NotSupportedError):
    """The database or its driver does not have this feature."""


class OperationalFault(DatabaseFault, exc.OperationalError):
    """The database could not run the statement."""


class ProgrammingFault(DatabaseFault, exc.ProgrammingError):
    """The database does not understand the statement, or not in this place."""


class RaisedFault(DatabaseFault, exc.ProgrammingError):
    """A function or trigger in the database refused the statement."""


class ServerFault(DatabaseFault, exc.DatabaseError):
    """The database gave up the statement."""


PLAIN: Final[Mapping[type[exc.StatementError], type[DatabaseFault]]] = {
    exc.DataError: DataFault,
    exc.DatabaseError: ServerFault,
    exc.IntegrityError: ConstraintViolation,
    exc.InterfaceError: InterfaceFault,
    exc.InternalError: InternalFault,
    exc.NotSupportedError: NotSupportedFault,
    exc.OperationalError: OperationalFault,
    exc.ProgrammingError: ProgrammingFault,
}
"""What is raised for each class of SQLAlchemy; for every other one a `DatabaseFault`."""


def is_plain(error: BaseException) -> bool:
    """Tell whether nothing finer was found for what the database or the driver has refused."""
    return type(error) in _NOTHING_FINER


_NOTHING_FINER: Final = {DatabaseFault, *PLAIN.values()} - {ConstraintViolation}
