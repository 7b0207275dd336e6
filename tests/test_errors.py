"""Errors: what they say, what they carry, and what they are instances of."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest
from sqlalchemy import exc as sa_exc
from sqlalchemy.orm import exc as orm_exc

from sqlkeel import errors
from sqlkeel.errors import (
    AlreadyFlushing,
    CheckViolation,
    CommitUnknown,
    ConnectionLost,
    ConstraintViolation,
    DatabaseFault,
    Deadlock,
    DriverMissing,
    InexactNumber,
    InvalidKey,
    InvalidURL,
    KeelError,
    MultipleFound,
    NaiveDatetime,
    NestedTransaction,
    NotFound,
    NoTransaction,
    QueryBudgetExceeded,
    RestoreConflict,
    StatementTimeout,
    TransactionAborted,
    TransientFault,
    UniqueViolation,
    UnloadedAttribute,
    VersionConflict,
    shown,
)

ALL = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, KeelError)]


class Unpicklable(Exception):
    """An error that, as some drivers' do, cannot travel."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.socket = lambda: None


class TestMessage:
    def test_it_has_three_parts(self) -> None:
        """What happened, what to type next, and where to read more."""
        error = UnloadedAttribute("Order", "lines")

        assert str(error).split("\n") == [
            "Order.lines is not loaded.",
            "  hint: Load it with the query, load=[Order.lines], or await obj.awaitable_attrs.lines.",
            "  docs: sqlkeel explain unloaded-attribute",
        ]
        assert error.message == "Order.lines is not loaded."

    def test_a_hint_is_left_out_where_there_is_none(self) -> None:
        """Not every fault has a remedy that can be typed."""
        assert str(CheckViolation()) == "The row breaks the check.\n  docs: sqlkeel explain check-violation"

    def test_the_page_may_be_somewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A project that publishes the docs names their address once."""
        monkeypatch.setattr(KeelError, "docs", "https://docs.example.org/errors.html")

        assert str(CheckViolation()).endswith("\n  docs: https://docs.example.org/errors.html#check-violation")

    def test_a_hint_of_its_own_wins(self) -> None:
        """One error may know better than its class."""
        error = InvalidURL("No.", hint="Do this.")

        assert error.hint == "Do this."
        assert InvalidURL.hint != "Do this."

    def test_a_fault_shows_its_statement(self) -> None:
        """The SQL, never its parameters."""
        error = Deadlock("Lost.", statement="UPDATE user SET email = ?")

        assert str(error).endswith("\n  SQL: UPDATE user SET email = ?")
        assert error.params is None

    def test_a_violation_is_a_sentence(self) -> None:
        """Constraint, table and columns, as far as they are known."""
        error = UniqueViolation(table="user", columns=["tenant", "email"], constraint="user_email_key")

        assert error.message == "The row breaks the unique constraint 'user_email_key' on user (tenant, email)."
        assert (error.table, error.columns, error.constraint) == ("user", ("tenant", "email"), "user_email_key")

    def test_every_code_is_an_anchor(self) -> None:
        """A code is small words with hyphens, as in an address."""
        codes = {kind.__name__: kind.code for kind in ALL}

        assert {kind: code for kind, code in codes.items() if not re.fullmatch(r"[a-z]+(-[a-z]+)*", code or "")} == {}


class TestTree:
    @pytest.mark.parametrize(
        ("kind", "also"),
        [
            (NaiveDatetime, ValueError),
            (InexactNumber, ValueError),
            (DriverMissing, ModuleNotFoundError),
            (InvalidURL, sa_exc.ArgumentError),
            (InvalidKey, sa_exc.InvalidRequestError),
            (NoTransaction, sa_exc.InvalidRequestError),
            (NestedTransaction, sa_exc.InvalidRequestError),
            (AlreadyFlushing, sa_exc.InvalidRequestError),
            (NotFound, LookupError),
            (NotFound, sa_exc.NoResultFound),
            (MultipleFound, LookupError),
            (MultipleFound, sa_exc.MultipleResultsFound),
            (VersionConflict, orm_exc.StaleDataError),
            (DatabaseFault, sa_exc.DBAPIError),
            (ConstraintViolation, sa_exc.IntegrityError),
            (RestoreConflict, UniqueViolation),
            (Deadlock, sa_exc.OperationalError),
            (ConnectionLost, sa_exc.InterfaceError),
        ],
    )
    def test_an_error_is_also_what_people_catch(self, kind: type[KeelError], also: type[Exception]) -> None:
        """Each is an instance of the class that a handler without us names."""
        assert issubclass(kind, also)

    @pytest.mark.parametrize("kind", [StatementTimeout, TransactionAborted, CommitUnknown, UniqueViolation])
    def test_what_must_not_be_retried(self, kind: type[KeelError]) -> None:
        """To run these again would fail again, or do it twice."""
        assert not issubclass(kind, TransientFault)

    def test_the_docstring_shows_each(self) -> None:
        """The tree at the head of the module names every class."""
        shown_there = set(re.findall(r"\w+", errors.__doc__ or ""))

        assert {kind.__name__ for kind in ALL} - shown_there == set()


class TestTravel:
    def test_attributes_travel(self) -> None:
        """Whatever an error knows, its copy knows."""
        error = VersionConflict("Article", 7, expected=3, current=5, current_row={"title": "b"})
        error.others = (VersionConflict("Article", 8, expected=1, current=None),)
        error.add_note("seen in a job")

        copy = pickle.loads(pickle.dumps(error))

        assert (copy.model, copy.key, copy.expected, copy.current) == ("Article", 7, 3, 5)
        assert copy.current_row == {"title": "b"}
        assert copy.others[0].current is None
        assert copy.__notes__ == ["seen in a job"]
        assert str(copy) == str(error)

    def test_a_live_driver_error_becomes_text(self) -> None:
        """What cannot be pickled is replaced by its repr; the rest arrives."""
        error = UniqueViolation(table="user", orig=Unpicklable("no"), statement="INSERT")

        copy = pickle.loads(pickle.dumps(error))

        assert copy.orig == "Unpicklable('no')"
        assert (copy.table, copy.statement) == ("user", "INSERT")

    def test_a_hint_of_its_own_travels(self) -> None:
        """The copy says the same, word for word."""
        error = DriverMissing("asyncpg", "postgres")

        copy = pickle.loads(pickle.dumps(error))

        assert str(copy) == str(error)
        assert (copy.driver, copy.extra) == ("asyncpg", "postgres")

    @pytest.mark.parametrize("error", [NotFound("User", 7), MultipleFound("User"), InvalidKey("No.", hint="Do this.")])
    def test_what_a_session_raises_travels(self, error: KeelError) -> None:
        """The constructor of SQLAlchemy's class is not asked for what it takes."""
        copy = pickle.loads(pickle.dumps(error))

        assert (type(copy), str(copy), copy.hint) == (type(error), str(error), error.hint)

    def test_lists_travel(self) -> None:
        """A budget's statements are still a tuple."""
        copy = pickle.loads(pickle.dumps(QueryBudgetExceeded(1, ["SELECT 1", "SELECT 2"])))

        assert copy.statements == ("SELECT 1", "SELECT 2")


class TestNotFound:
    @pytest.mark.parametrize(("key", "text"), [(7, "with key 7."), (None, "that matches."), (0, "with key 0.")])
    def test_it_names_the_key(self, key: object, text: str) -> None:
        """With a key it is shown; a filter is not."""
        assert NotFound("User", key).message == f"There is no User {text}"


class TestShown:
    @pytest.mark.parametrize(
        ("value", "text"),
        [("a", "'a'"), (10**5_000, "<int>"), ("x" * 198, f"'{'x' * 198}'"), ("x" * 199, f"'{'x' * 199}…")],
        ids=["short", "without a text", "as long as it may be", "one longer"],
    )
    def test_a_value_in_a_message(self, value: object, text: str) -> None:
        """It is shown as Python does, cut where it is long, and by its class where Python cannot."""
        assert shown(value) == text


class TestVersionConflict:
    @pytest.mark.parametrize(("current", "text"), [(5, "is at version 5"), (None, "is gone")])
    def test_it_says_who_was_faster(self, current: int | None, text: str) -> None:
        """Both versions are in the message, or that the row is gone."""
        error = VersionConflict("Article", 7, expected=3, current=current)

        assert error.message == f"Article 7 {text}; the change was made on version 3."

    @pytest.mark.parametrize(
        ("expected", "text"),
        [
            (None, "change was made on another one"),
            (frozenset({8, 1}), "client expected one of 1, 8"),
            (frozenset({4}), "client expected version 4"),
            (frozenset(), "client named no version"),
            (frozenset(range(10)), "client expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
            (frozenset(range(11)), "client expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"),
        ],
        ids=["unknown", "two", "one of a set", "none", "ten", "eleven"],
    )
    def test_it_says_what_was_expected(self, expected: frozenset[int] | None, text: str) -> None:
        """Several versions are named in order, ten of them at most."""
        error = VersionConflict("Account", 1, expected=expected, current=1)

        assert error.message == f"Account 1 is at version 1; the {text}."

    def test_several_expected_versions_travel(self) -> None:
        """Another process sees the same set and the same message."""
        error = VersionConflict("Account", 1, expected=frozenset({4, 5}), current=1)

        copy = pickle.loads(pickle.dumps(error))

        assert (copy.expected, str(copy)) == (frozenset({4, 5}), str(error))
