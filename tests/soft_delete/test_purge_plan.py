"""The order of a purge."""

from __future__ import annotations

import pytest

from sqlkeel.errors import ConfigurationError, NotSupported
from sqlkeel.soft_delete._purge_plan import Group, plan
from tests.soft_delete.purge_models import Animal, Badge, Base, Bone, Box, Left, Node, Org, Post, Right, User


def models(groups: list[Group]) -> list[set[type]]:
    """Return the models of each group."""
    return [{member.mapper.class_ for member in group.members} for group in groups]


class TestOrder:
    def test_the_lowest_first(self) -> None:
        """Each model comes behind all that may point to it."""
        assert models(plan(Org)) == [{Box, Post}, {User}, {Org}]

    def test_only_what_is_below(self) -> None:
        """What a model points to is not its own."""
        assert models(plan(Post)) == [{Post}]

    def test_a_base_stands_for_all(self) -> None:
        """Each soft-deletable model is there once, and no other."""
        groups = plan(Base)

        found = [member.mapper.class_ for group in groups for member in group.members]
        assert len(found) == len(set(found))
        assert {Org, User, Post, Node, Animal, Bone} <= set(found)
        assert Badge not in found

    def test_a_circle_is_one_group(self) -> None:
        """Neither is below the other more than the other way round."""
        [group] = plan(Left)

        assert {member.mapper.class_ for member in group.members} == {Left, Right}
        assert group.circular

    def test_a_tree_is_a_circle_of_one(self) -> None:
        """Its rows go in rounds; those of other tables in one."""
        assert [group.circular for group in plan(Node)] == [True]
        assert [group.circular for group in plan(Post)] == [False]


class TestRefusals:
    def test_a_model_without_soft_delete(self) -> None:
        """It has no deleted rows."""
        with pytest.raises(NotSupported, match="Badge has no soft delete"):
            plan(Badge)

    def test_tables_are_no_models(self) -> None:
        """A MetaData does not know what is below what."""
        with pytest.raises(ConfigurationError, match="a MetaData has tables, not models"):
            plan(Base.metadata)

    def test_anything_else(self) -> None:
        """It is said what to name."""
        with pytest.raises(ConfigurationError, match="declarative base"):
            plan(object())
