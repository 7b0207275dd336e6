"""What a client is told of an error, and what not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import exc

from sqlkeel import errors
from sqlkeel.integrations._problems import SCHEMA, answers, describe

SECRET = "s3cret"


class SeatTaken(errors.UniqueViolation):
    """An error of a project's own that refines one of ours."""

    code = "seat-taken"


class OutOfStock(errors.KeelError):
    """An error of a project's own that is like none of ours."""

    code = "out-of-stock"


def fault(kind: type[errors.DatabaseFault]) -> errors.DatabaseFault:
    """Return a fault that knows what a client must not."""
    return kind(f"The database says: {SECRET}", orig=ValueError(SECRET), statement=f"SELECT {SECRET}", hint=SECRET)


def violation(kind: type[errors.ConstraintViolation], **facts: Any) -> errors.ConstraintViolation:
    """Return a violation whose driver error holds a value of the row."""
    return kind(orig=ValueError(SECRET), statement=f"INSERT {SECRET}", **facts)


class TestStatus:
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (errors.NotFound("User", SECRET), 404),
            (violation(errors.UniqueViolation), 409),
            (violation(errors.RestoreConflict), 409),
            (violation(errors.ForeignKeyViolation), 409),
            (violation(errors.ExclusionViolation), 409),
            (errors.PreconditionRequired("missing"), 428),
            (errors.InvalidETag("malformed"), 400),
            (errors.VersionConflict("User", SECRET, expected=3, current=4, current_row={"name": SECRET}), 412),
            (violation(errors.CheckViolation), 422),
            (violation(errors.NotNullViolation), 422),
            (fault(errors.ValueRefused), 422),
            (errors.InvalidValue(SECRET), 422),
            (errors.NaiveDatetime(SECRET), 422),
            (errors.InexactNumber(SECRET), 422),
            (errors.UnknownField(SECRET), 422),
            (errors.InvalidCursor(SECRET), 422),
            (errors.InvalidKey(SECRET), 422),
            (fault(errors.SerializationFailure), 503),
            (fault(errors.Deadlock), 503),
            (fault(errors.LockTimeout), 503),
            (fault(errors.DatabaseBusy), 503),
            (fault(errors.ConnectionLost), 503),
            (fault(errors.DatabaseUnavailable), 503),
            (exc.TimeoutError(SECRET), 503),
            (fault(errors.CommitUnknown), 500),
            (fault(errors.TransactionAborted), 500),
            (fault(errors.SchemaMissing), 500),
            (fault(errors.StatementTimeout), 500),
            (errors.MultipleFound(SECRET), 500),
            (errors.ReadOnlySession(SECRET), 500),
            (errors.InvalidURL(SECRET), 500),
            (ZeroDivisionError(SECRET), 500),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_it_says_what_happened_and_no_more(self, error: Exception, status: int) -> None:
        """Each error has its status, and its document repeats no value, no SQL and no hint."""
        problem = describe(error)

        assert problem.status == problem.body["status"] == status
        assert SECRET not in json.dumps(problem.body)
        assert problem.title

    @pytest.mark.parametrize("kind", [errors.Deadlock, errors.DatabaseBusy, errors.DatabaseUnavailable])
    def test_it_says_when_to_come_back(self, kind: type[errors.DatabaseFault]) -> None:
        """What may succeed later has a Retry-After."""
        assert int(describe(fault(kind)).headers["Retry-After"]) > 0

    def test_what_will_not_get_better_has_no_retry(self) -> None:
        """A conflict stays one."""
        assert describe(violation(errors.UniqueViolation)).headers == {}


class TestMembers:
    def test_a_violation_names_its_columns(self) -> None:
        """A form can show the message at the field."""
        error = violation(errors.UniqueViolation, table="user", columns=["email"], constraint="user_email_key")

        assert describe(error).body == {
            "type": "errors#unique-violation",
            "title": "Already taken",
            "status": 409,
            "detail": "Another record has this value already.",
            "columns": ("email",),
            "constraint": "user_email_key",
        }

    def test_what_the_database_does_not_say_is_left_out(self) -> None:
        """SQLite does not name the foreign key: there are no empty members."""
        body = describe(violation(errors.ForeignKeyViolation)).body

        assert set(body) == {"type", "title", "status", "detail"}

    def test_a_conflict_carries_both_versions(self) -> None:
        """An editor can show what he has and what there is."""
        body = describe(errors.VersionConflict("User", 7, expected=3, current=4)).body

        assert (body["expected"], body["current"]) == (3, 4)

    def test_several_expected_versions_are_left_out(self) -> None:
        """The client has named them itself, and a set is nothing that JSON has."""
        body = describe(errors.VersionConflict("User", 7, expected=frozenset({3, 5}), current=4)).body

        assert (body.get("expected"), body["current"]) == (None, 4)

    def test_a_row_that_is_gone_has_no_current_version(self) -> None:
        """Without a current version there is nothing to reload."""
        body = describe(errors.VersionConflict("User", 7, expected=3, current=None)).body

        assert body["expected"] == 3
        assert "current" not in body

    def test_an_internal_error_says_nothing_at_all(self) -> None:
        """What a client can do nothing about is a plain 500."""
        problem = describe(fault(errors.SchemaMissing))

        assert problem.body == {"type": "about:blank", "title": "Internal Server Error", "status": 500}


class TestExtension:
    def test_a_subclass_is_described_like_its_parent(self) -> None:
        """A project's own refinement has the parent's status and text, and its own code."""
        problem = describe(violation(SeatTaken))

        assert (problem.type, problem.status, problem.title) == ("errors#seat-taken", 409, "Already taken")

    def test_an_own_error_gets_a_status(self) -> None:
        """An error of a project's own is mapped by its code."""
        problem = describe(OutOfStock("None left."), statuses={"out-of-stock": 409})

        assert problem.body == {"type": "errors#out-of-stock", "title": "Conflict", "status": 409}

    def test_an_own_error_without_status_is_internal(self) -> None:
        """What nobody has mapped is a plain 500."""
        assert describe(OutOfStock("None left.")).status == 500

    def test_a_status_of_ours_can_be_replaced(self) -> None:
        """A project may answer differently from us, for one error only."""
        statuses = {"not-found": 410}

        assert describe(errors.NotFound("User"), statuses=statuses).status == 410
        assert describe(errors.Deadlock("…"), statuses=statuses).status == 503

    def test_the_page_of_the_codes_can_be_moved(self) -> None:
        """The type is the page that the project names, with the code as anchor."""
        problem = describe(errors.NotFound("User"), docs="https://example.org/errors")

        assert problem.type == "https://example.org/errors#not-found"


class TestAnswers:
    @pytest.mark.parametrize(
        ("method", "path", "statuses"),
        [
            ("GET", "/items", {503}),
            ("HEAD", "/items/{key}", {404, 503}),
            ("post", "/items", {409, 422, 503}),
            ("DELETE", "/items/{key}", {404, 409, 422, 503}),
        ],
    )
    def test_by_method_and_path(self, method: str, path: str, statuses: set[int]) -> None:
        """What names nothing is not missing, and what writes nothing breaks no constraint."""
        assert set(answers(method, path)) == statuses

    def test_a_status_that_was_chosen(self) -> None:
        """An error that a service answers with a status of its own is described under that."""
        found = answers("POST", "/items", statuses={"foreign-key-violation": 422, "out-of-stock": 418})

        assert found[409] == "Already taken."
        assert found[422] == "Reference broken, Value missing, Value not allowed."
        assert 418 not in found

    def test_the_schema_has_each_member(self) -> None:
        """A validator that allows no other member lets ours pass."""
        violated = errors.NotNullViolation(table="item", columns=("name",), constraint="item_name_not_null")
        violated.locate(3)

        assert describe(violated).body.keys() <= SCHEMA["properties"].keys()
