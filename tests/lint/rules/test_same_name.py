"""Tests of same-name: one name for the keys to one table."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, Integer, MetaData, String, Table

from sqlkeel.models import metadata_with_names
from tests.lint.examples import found_in, table


def schema(target: str, *names: str, key: str = "id") -> MetaData:
    """Return a table, and one more for each of the names: a column that points to its key."""
    metadata = metadata_with_names()
    Table(target, metadata, Column(key, Integer, primary_key=True))
    for number, name in enumerate(names):
        table(Column(name, ForeignKey(f"{target}.{key}")), name=f"child_{number}", metadata=metadata)
    return metadata


class TestSameName:
    @pytest.mark.parametrize(
        ("target", "names"),
        [
            ("user", ["user_id", "author_id", "owner_user_id"]),
            ("user", ["user_id", "created_by", "reply_to"]),
            ("user", ["usr_id", "usr_id"]),
            ("payment_account", ["account_id", "payment_account_id", "sender_id"]),
            ("users", ["user_id"]),
            ("tbl_user", ["user_id"]),
            ("order_data", ["order_data_id"]),
            ("organization", ["org_id", "owner_id"]),
            ("user", ["user_id", "user_group_id"]),
            ("person", ["person_id", "son_id"]),
            ("order_line", ["order_line_id", "other_lines_id"]),
            ("user", ["userId"]),
        ],
    )
    def test_accepted(self, target: str, names: list[str]) -> None:
        """The table's name, a role, or a short form that all keys share."""
        assert not found_in("same-name", schema(target, *names))

    @pytest.mark.parametrize(
        ("target", "name", "wanted"),
        [
            ("user", "usr", "user_id"),
            ("user", "user", "user_id"),
            ("user", "userid", "user_id"),
            ("user", "id_user", "user_id"),
            ("user", "user_fk", "user_id"),
            ("user", "users", "user_id"),
            ("user", "user_uuid", "user_id"),
            ("user", "fk_author", "author_id"),
            ("api_key", "api_key", "api_key_id"),
            ("grid", "grid", "grid_id"),
            ("user", "paid", "paid_id"),
            ("user", "author", "author_id"),
            ("payment_account", "account", "account_id"),
            ("payment_account", "acct", "payment_account_id"),
        ],
    )
    def test_no_name_of_a_key(self, target: str, name: str, wanted: str) -> None:
        """A key to an id ends in _id, whatever the other keys are called."""
        (finding,) = found_in("same-name", schema(target, name))

        assert finding.fix == f'Call it "{wanted}".'

    @pytest.mark.parametrize(
        ("target", "other", "name"),
        [
            ("user", "user_id", "usr_id"),
            ("user", "user_id", "users_id"),
            ("users", "user_id", "usr_id"),
            ("user", "user_id", "u_id"),
            ("payment_account", "account_id", "acct_id"),
            ("payment_account", "payment_account_id", "pay_acc_id"),
            ("user", "created_by_id", "created_by"),
        ],
    )
    def test_two_names(self, target: str, other: str, name: str) -> None:
        """A short form is found where another key has the whole name, which is the one to use."""
        (finding,) = found_in("same-name", schema(target, other, name))

        assert (finding.where, finding.fix) == (f"child_1.{name}", f'Call it "{other}".')

    def test_neither_is_right(self) -> None:
        """The whole name without _id is no name to use."""
        findings = found_in("same-name", schema("user", "user", "usr"))

        assert [one.fix for one in findings] == ['Call it "user_id".'] * 2

    def test_two_short_names(self) -> None:
        """Where all are short, and not alike, each takes the name of the table."""
        findings = found_in("same-name", schema("user", "usr_id", "u_id"))

        assert [one.fix for one in findings] == ['Call it "user_id".'] * 2

    def test_keys_to_other_tables(self) -> None:
        """What the keys to another table are called does not count."""
        metadata = schema("user", "usr_id")
        table(name="login", metadata=metadata)
        table(Column("user_id", ForeignKey("login.id")), metadata=metadata)

        assert not found_in("same-name", metadata)

    def test_the_name_is_taken(self) -> None:
        """Two keys of one table to the same other are two roles, however short."""
        metadata = schema("location")
        columns = [Column(name, Integer, ForeignKey("location.id")) for name in ("location_id", "lot_id")]
        table(*columns, metadata=metadata)

        assert not found_in("same-name", metadata)

    def test_natural_key(self) -> None:
        """A key to something else than an id is called as it likes."""
        assert not found_in("same-name", schema("country", "country", "home", key="code"))

    def test_key_that_repeats_its_table(self) -> None:
        """A key to user.user_id is called so too."""
        (finding,) = found_in("same-name", schema("user", "user_id", "usr", key="user_id"))

        assert finding.where == "child_1.usr"

    def test_shared_key(self) -> None:
        """A row that has the key of another one calls it id, as that does."""
        metadata = schema("person")
        Table("author", metadata, Column("id", ForeignKey("person.id"), primary_key=True))

        assert not found_in("same-name", metadata)

    def test_composite(self) -> None:
        """Each column of a composite key is looked at by itself."""
        metadata = metadata_with_names()
        Table("team", metadata, Column("tenant_id", Integer, primary_key=True), Column("id", Integer, primary_key=True))
        key = ForeignKeyConstraint(["tenant_id", "team"], ["team.tenant_id", "team.id"])
        table(Column("tenant_id", Integer), Column("team", Integer), key, metadata=metadata)

        (finding,) = found_in("same-name", metadata)

        assert finding.where == "thing.team"

    def test_missing_target(self) -> None:
        """A key to a table that is not here says nothing."""
        metadata = metadata_with_names()
        table(Column("usr", String, ForeignKey("elsewhere.id")), metadata=metadata)

        assert not found_in("same-name", metadata)

    @pytest.mark.parametrize(
        ("target", "name", "wanted"),
        [
            ("builds", "parent_buildid", "parent_build_id"),
            ("build_requests", "buildrequestid", "build_request_id"),
            ("build_requests", "old_build_requestid", "old_build_request_id"),
        ],
    )
    def test_run_on(self, target: str, name: str, wanted: str) -> None:
        """The id is taken off before it is put on."""
        (finding,) = found_in("same-name", schema(target, name))

        assert finding.fix == f'Call it "{wanted}".'

    def test_convention_of_the_project(self) -> None:
        """Four keys that are written ``userid`` are one, unless as many are not; three are none."""
        names = ["userid", "ownerid", "authorid", "editorid"]
        others = ["user_id", "owner_id", "author_id", "editor_id"]

        counts = [len(found_in("same-name", schema("user", *each))) for each in (names[:3], names, [*names, *others])]

        assert counts == [3, 0, 4]
