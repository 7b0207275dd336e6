"""Who points to whom, and which foreign keys count."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Mapper

from sqlkeel.soft_delete._purge_references import References
from tests.soft_delete.purge_models import Animal, Base, Bone, Box, Dog, Node, Org, Post, User


def mapper(model: type[Base]) -> Mapper[Base]:
    """Return the mapper of a model."""
    return model.__mapper__


class TestTables:
    def test_the_lowest_comes_first(self) -> None:
        """In that order they can be deleted from."""
        references = References(Base.registry)

        assert references.tables(mapper(Animal)) == references.tables(mapper(Dog)) == (Dog.__table__, Animal.__table__)

    def test_the_base_is_where_a_row_begins(self) -> None:
        """For a subclass it is another table than its own."""
        assert References(Base.registry).base(mapper(Dog)) is mapper(Animal)


class TestBelow:
    def test_only_keys_that_keep_a_row(self) -> None:
        """SET NULL lets the row go; a table without soft delete is looked through."""
        assert {*References(Base.registry).below(User.__table__)} == {mapper(Post), mapper(Box)}  # type: ignore[arg-type]

    def test_the_rest_of_a_row_is_not_below_it(self) -> None:
        """What points to the rest of it is."""
        references = References(Base.registry)

        assert list(references.below(Animal.__table__)) == []  # type: ignore[arg-type]
        assert list(references.below(Dog.__table__)) == [mapper(Bone)]  # type: ignore[arg-type]

    def test_a_tree_is_below_itself(self) -> None:
        """A row of it may keep another one."""
        assert list(References(Base.registry).below(Node.__table__)) == [mapper(Node)]  # type: ignore[arg-type]


class TestNeeding:
    def test_there_is_a_condition_for_each_key(self) -> None:
        """It asks for one row, by the columns of the key."""
        [needs] = References(Base.registry).needing(Org.__table__, Org.__table__)  # type: ignore[arg-type]

        assert " ".join(str(select(Org.id).where(needs)).split()) == (
            "SELECT purge_org.id FROM purge_org WHERE EXISTS (SELECT * FROM purge_user AS purge_user_1 "
            "WHERE purge_user_1.org_id = purge_org.id)"
        )

    def test_what_goes_along_asks_for_what_is_behind_it(self) -> None:
        """A badge keeps nobody; a shelf does where a box is on it."""
        needs = [str(one) for one in References(Base.registry).needing(User.__table__, User.__table__)]  # type: ignore[arg-type]

        assert len(needs) == 3
        [shelf] = [one for one in needs if "purge_shelf" in one]
        assert "purge_box" in shelf
        assert not [one for one in needs if "purge_badge" in one or "purge_comment" in one]
