"""Relations that contradict themselves are refused: at the call, or when the models are configured."""

from __future__ import annotations

import pytest
from sqlalchemy import ForeignKey, ForeignKeyConstraint
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel.errors import CascadeMismatch
from sqlkeel.models import association, children, parent
from tests.models.relation_models import Base, pair, refusal

pytestmark = [pytest.mark.tables(Base.metadata), pytest.mark.usefixtures("forgotten")]


class TestRefusedAtTheCall:
    @pytest.mark.parametrize("option", ["cascade", "passive_deletes", "secondary", "viewonly"])
    def test_children_sets_its_options_itself(self, option: str) -> None:
        """children() takes no option that would contradict its rule."""
        with pytest.raises(CascadeMismatch, match=option):
            children(**{option: "all"})

    @pytest.mark.parametrize("option", ["cascade", "passive_deletes", "secondary", "viewonly"])
    def test_parent_sets_its_options_itself(self, option: str) -> None:
        """Nor does parent()."""
        with pytest.raises(CascadeMismatch, match=option):
            parent(**{option: "all"})

    @pytest.mark.parametrize("option", ["cascade", "passive_deletes", "viewonly"])
    def test_association_sets_its_options_itself(self, option: str) -> None:
        """Nor does association()."""
        with pytest.raises(CascadeMismatch, match=option):
            association("user_role", **{option: "all"})

    def test_unknown_rule(self) -> None:
        """A rule that does not exist is named, with those that do."""
        with pytest.raises(CascadeMismatch, match="'set null'"):
            children(on_delete="nullify")  # type: ignore[arg-type]

    def test_parent_with_unknown_rule(self) -> None:
        """parent() checks its rule at the call too."""
        with pytest.raises(CascadeMismatch, match="'SET NULL'"):
            parent(on_delete="SET NULL")  # type: ignore[arg-type]

    def test_orphans_need_cascade(self) -> None:
        """Orphans are not deleted where the children of a deleted row are kept."""
        with pytest.raises(CascadeMismatch, match="delete_orphan"):
            children(on_delete="set null", delete_orphan=True)

    def test_restrict_needs_the_other_side(self) -> None:
        """Without the other side, taking a child out of a restricting collection would not be saved."""
        with pytest.raises(CascadeMismatch, match="back_populates"):
            children(on_delete="restrict")

    def test_other_options_pass(self) -> None:
        """Other options reach relationship(), and the caller's info is kept."""
        made = children(lazy="raise", info={"mine": 1})

        assert made.lazy == "raise"
        assert made.info["mine"] == 1


class TestRefusedAtConfiguration:
    def test_explicit_on_delete_differs(self) -> None:
        """A foreign key that says something else is refused with the text to write."""
        error = refusal(pair(key=ForeignKey("team.id", ondelete="SET NULL"), down=children(argument="Player")))

        assert "Team.players" in error.message
        assert "player(team_id) is ON DELETE SET NULL" in error.message
        assert 'ondelete="CASCADE"' in error.hint

    def test_explicit_on_delete_agrees(self) -> None:
        """A foreign key that says the same, in any case, is left as it is."""
        base = pair(key=ForeignKey("team.id", ondelete="cascade"), down=children(argument="Player"))

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["cascade"]

    def test_no_action_restricts(self) -> None:
        """NO ACTION, which can be deferred, agrees with "restrict"."""
        base = pair(
            key=ForeignKey("team.id", ondelete="NO ACTION"),
            down=children(argument="Player", on_delete="restrict", back_populates="team"),
            up=parent(argument="Team", back_populates="players"),
        )

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["NO ACTION"]

    def test_set_null_on_a_required_column(self) -> None:
        """A NOT NULL column cannot be set to NULL."""
        down = children(argument="Player", on_delete="set null")

        error = refusal(pair(key=ForeignKey("team.id"), down=down, nullable=False))

        assert "player.team_id is NOT NULL" in error.message

    def test_two_sides_that_disagree(self) -> None:
        """A rule on the side of the parent must be that of the children."""
        base = pair(
            key=ForeignKey("team.id"),
            down=children(argument="Player", back_populates="team"),
            up=parent(argument="Team", back_populates="players", on_delete="set null"),
        )

        error = refusal(base)

        assert 'Player.team says "set null" and Team.players says "cascade"' in error.message

    def test_two_sides_that_agree(self) -> None:
        """Saying the same on both sides is allowed."""
        base = pair(
            key=ForeignKey("team.id"),
            down=children(argument="Player", back_populates="team"),
            up=parent(argument="Team", back_populates="players", on_delete="cascade"),
        )

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["CASCADE"]

    def test_two_collections_on_one_key_that_disagree(self) -> None:
        """A second collection over the same foreign key must have the same rule; the error names the first."""
        base = pair(key=ForeignKey("team.id"), down=children(argument="Player"))
        base.models[0].others = children(argument="Player", on_delete="set null", overlaps="players")

        error = refusal(base)

        assert "set by Team.players" in error.message

    def test_reverse_that_deletes_the_parent(self) -> None:
        """A many-to-one with a delete cascade would delete the parent with its first child."""
        base = pair(
            key=ForeignKey("team.id"),
            down=children(argument="Player", back_populates="team"),
            up=relationship("Team", back_populates="players", cascade="all"),
        )

        assert "Player.team = parent" in refusal(base).hint

    def test_orphans_of_a_soft_deleted_model(self) -> None:
        """Orphans are removed past the soft delete, so that they may not be deleted at all."""
        base = pair(key=ForeignKey("team.id"), down=children(argument="Player", delete_orphan=True), soft=True)

        assert "rows of Player for good" in refusal(base).message

    def test_soft_deletable_children_of_a_row_that_is_removed(self) -> None:
        """A parent without the mixin would take its soft-deletable children along for good."""
        base = pair(key=ForeignKey("team.id"), down=children(argument="Player"), soft=True)

        error = refusal(base)

        assert "Team.players would remove the rows of Player for good" in error.message
        assert "SoftDeleteMixin" in error.hint

    def test_soft_deletable_children_of_a_key_that_cascades(self) -> None:
        """That the key says CASCADE already changes nothing."""
        base = pair(key=ForeignKey("team.id", ondelete="CASCADE"), down=children(argument="Player"), soft=True)

        assert "rows of Player for good" in refusal(base).message

    def test_soft_deletable_children_that_are_meant_to_go(self) -> None:
        """Who writes the rule has said that they go for good."""
        base = pair(key=ForeignKey("team.id"), down=children(argument="Player", on_delete="cascade"), soft=True)

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["CASCADE"]

    def test_parent_alone_of_soft_deletable_rows(self) -> None:
        """The same from below: a key that cascades takes the soft-deletable row along."""
        key = ForeignKey("team.id", ondelete="CASCADE")

        assert "rows of Player for good" in refusal(pair(key=key, up=parent(argument="Team"), soft=True)).message

    def test_parent_alone_of_soft_deletable_rows_that_restrict(self) -> None:
        """A parent that stays while it has such rows is fine."""
        base = pair(key=ForeignKey("team.id", ondelete="RESTRICT"), up=parent(argument="Team"), soft=True)

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["RESTRICT"]

    def test_parent_alone_must_decide(self) -> None:
        """A foreign key that nobody gave an ON DELETE is refused."""
        error = refusal(pair(key=ForeignKey("team.id"), up=parent(argument="Team")))

        assert 'parent(on_delete="restrict")' in error.hint

    def test_parent_alone_with_a_key_set_elsewhere(self) -> None:
        """Another relation's rule does not count: which is configured first would decide."""
        error = refusal(
            pair(
                key=ForeignKey("team.id"),
                up=parent(argument="Team", overlaps="players"),
                down=children(argument="Player"),
            )
        )

        assert "Player.team says nothing" in error.message

    def test_parent_alone_decides_in_the_call(self) -> None:
        """on_delete= of parent() sets the foreign key."""
        base = pair(key=ForeignKey("team.id"), up=parent(argument="Team", on_delete="restrict"))

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["RESTRICT"]

    def test_parent_alone_decides_in_the_key(self) -> None:
        """So does the foreign key itself, with any action."""
        base = pair(key=ForeignKey("team.id", ondelete="SET DEFAULT"), up=parent(argument="Team"))

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["SET DEFAULT"]

    def test_plain_collection_that_disagrees(self) -> None:
        """A plain relationship() that would set NULL where the database cascades is refused."""
        base = pair(
            key=ForeignKey("team.id", ondelete="CASCADE"),
            up=parent(argument="Team", back_populates="players"),
            down=relationship("Player", back_populates="team"),
        )

        assert 'Team.players = children(on_delete="cascade"' in refusal(base).hint

    def test_plain_collection_that_agrees(self) -> None:
        """A plain relationship() with the right options is fine."""
        base = pair(
            key=ForeignKey("team.id", ondelete="CASCADE"),
            up=parent(argument="Team", back_populates="players"),
            down=relationship("Player", back_populates="team", cascade="all", passive_deletes=True),
        )

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["CASCADE"]

    def test_children_on_the_wrong_side(self) -> None:
        """children() on the side of the foreign key says to use parent()."""
        error = refusal(pair(key=ForeignKey("team.id"), up=children(argument="Team")))

        assert "parent()" in error.hint

    def test_parent_on_the_wrong_side(self) -> None:
        """parent() on the other side is refused, and mentions trees."""
        error = refusal(pair(key=ForeignKey("team.id"), down=parent(argument="Player")))

        assert "remote_side" in error.hint

    def test_no_foreign_key(self) -> None:
        """A join without a foreign key gives the database nothing to act on."""

        class Base(sqlkeel.Base):
            pass

        class Team(Base):
            __tablename__ = "team"
            id: Mapped[int] = mapped_column(primary_key=True)
            players: Mapped[list["Player"]] = children(  # noqa: UP037
                primaryjoin="Team.id == foreign(Player.team_id)"
            )

        class Player(Base):
            __tablename__ = "player"
            id: Mapped[int] = mapped_column(primary_key=True)
            team_id: Mapped[int]

        assert "no foreign key" in refusal(Base).message

    def test_foreign_key_in_a_subclass_table(self) -> None:
        """A cascade into the second table of a model would leave its row in the first."""

        class Base(sqlkeel.Base):
            pass

        class Animal(Base):
            __tablename__ = "animal"
            id: Mapped[int] = mapped_column(primary_key=True)

        class Lion(Animal):
            __tablename__ = "lion"
            id: Mapped[int] = mapped_column(ForeignKey("animal.id"), primary_key=True)
            zoo_id: Mapped[int] = mapped_column(ForeignKey("zoo.id"))

        class Zoo(Base):
            __tablename__ = "zoo"
            id: Mapped[int] = mapped_column(primary_key=True)
            lions: Mapped[list["Lion"]] = children()  # noqa: UP037

        assert "leave its row in animal" in refusal(Base).message

    def test_composite_foreign_key(self) -> None:
        """A foreign key of two columns gets its ON DELETE too."""

        class Base(sqlkeel.Base):
            pass

        class Player(Base):
            __tablename__ = "player"
            id: Mapped[int] = mapped_column(primary_key=True)
            league: Mapped[int]
            number: Mapped[int]
            __table_args__ = (ForeignKeyConstraint(["league", "number"], ["team.league", "team.number"]),)

        class Team(Base):
            __tablename__ = "team"
            league: Mapped[int] = mapped_column(primary_key=True)
            number: Mapped[int] = mapped_column(primary_key=True)
            players: Mapped[list["Player"]] = children()  # noqa: UP037

        Base.registry.configure()

        (key,) = Base.metadata.tables["player"].foreign_key_constraints
        assert key.ondelete == "CASCADE"

    def test_a_failure_is_not_forgotten(self) -> None:
        """Models that were refused cannot be used afterwards."""
        base = pair(key=ForeignKey("team.id"), up=parent(argument="Team"))
        refusal(base)

        with pytest.raises(InvalidRequestError, match="says nothing about ON DELETE"):
            base.registry.configure()
        with pytest.raises(CascadeMismatch):
            base.registry.configure()
