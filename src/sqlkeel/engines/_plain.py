"""The classes for errors without a more specific meaning: a `DatabaseFault` that is also SQLAlchemy's class."""

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
    """The application used the driver in a way that it does not allow."""


class InternalFault(DatabaseFault, exc.InternalError):
    """The database had an internal error."""


class NotSupportedFault(DatabaseFault, exc.NotSupportedError):
    """The database or its driver does not have this feature."""


class OperationalFault(DatabaseFault, exc.OperationalError):
    """The database could not run the statement."""


class ProgrammingFault(DatabaseFault, exc.ProgrammingError):
    """The database does not understand the statement, or does not allow it here."""


class RaisedFault(DatabaseFault, exc.ProgrammingError):
    """A function or trigger in the database raised an error."""


class ServerFault(DatabaseFault, exc.DatabaseError):
    """The database aborted the statement."""


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
"""The class to raise for each class of SQLAlchemy; every other one becomes a `DatabaseFault`."""


def is_plain(error: BaseException) -> bool:
    """Return whether an error of the database or driver has no more specific class."""
    return type(error) in _NOTHING_FINER


_NOTHING_FINER: Final = {DatabaseFault, *PLAIN.values()} - {ConstraintViolation}
