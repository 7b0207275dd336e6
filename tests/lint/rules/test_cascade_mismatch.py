"""Tests of cascade-mismatch: the ORM and the foreign key agree on what a delete does."""

from __future__ import annotations

import pytest

from sqlkeel.lint import Finding
from tests.lint.examples import found_in

_MODELS = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    posts: Mapped[list["Post"]] = {relation}

class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"{rule}), index=True)
    author: Mapped[User | None] = {reverse}
"""
_LINKS = """
class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    tags: Mapped[list["Tag"]] = {relation}

class Tag(Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)

Table(
    "post_tag",
    Base.metadata,
    Column("post_id", ForeignKey("post.id"{rule}), primary_key=True),
    Column("tag_id", ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True, index=True),
)
"""


def children(relation: str, rule: str, reverse: str = "relationship(viewonly=True)") -> list[Finding]:
    """Return the findings on a one-to-many with these options and this ON DELETE."""
    rule = f', ondelete="{rule}"' if rule else ""
    return found_in("cascade-mismatch", _MODELS.format(relation=relation, rule=rule, reverse=reverse))


def links(relation: str, rule: str) -> list[Finding]:
    """Return the findings on a many-to-many with these options and this ON DELETE."""
    return found_in("cascade-mismatch", _LINKS.format(relation=relation, rule=f', ondelete="{rule}"' if rule else ""))


class TestChildren:
    @pytest.mark.parametrize(
        ("relation", "rule"),
        [
            ("children()", ""),
            ('children(on_delete="set null")', ""),
            ("relationship()", ""),
            ("relationship(passive_deletes=True)", ""),
            ('relationship(cascade="all, delete", passive_deletes=True)', "CASCADE"),
            ('relationship(cascade="all, delete-orphan", passive_deletes=True)', "cascade"),
            ('relationship(passive_deletes="all")', "CASCADE"),
            ("relationship(passive_deletes=True)", "SET NULL"),
            ('relationship(passive_deletes="all")', "SET NULL"),
            ('relationship(passive_deletes="all")', "RESTRICT"),
            ('relationship(passive_deletes="all")', "NO ACTION"),
            ("relationship(viewonly=True)", "CASCADE"),
            ('relationship(uselist=False, cascade="all, delete")', "CASCADE"),
            ("relationship(uselist=False)", "SET NULL"),
            ('relationship(primaryjoin="User.id == foreign(Post.id)", cascade="all")', "CASCADE"),
        ],
    )
    def test_accepted(self, relation: str, rule: str) -> None:
        """Both say the same, or neither says anything."""
        assert children(relation, rule) == []

    @pytest.mark.parametrize(
        ("relation", "rule", "message"),
        [
            ('relationship(cascade="all, delete")', "", "has no ON DELETE."),
            ('relationship(cascade="all, delete", passive_deletes=True)', "", "has no ON DELETE."),
            ('relationship(cascade="all, delete-orphan")', "SET NULL", "has ON DELETE SET NULL."),
            ('relationship(cascade="all, delete")', "RESTRICT", "has ON DELETE RESTRICT."),
            ('relationship(cascade="all, delete")', "CASCADE", "loads every child to delete it."),
            ("relationship()", "CASCADE", "The database deletes the children"),
            ("relationship(passive_deletes=True)", "CASCADE", "The database deletes the children"),
            ("relationship()", "SET NULL", "loads every child to set its key to NULL."),
            ("relationship()", "RESTRICT", "The database refuses"),
            ("relationship(passive_deletes=True)", "NO ACTION", "The database refuses"),
        ],
    )
    def test_refused(self, relation: str, rule: str, message: str) -> None:
        """One says what the other does not."""
        (finding,) = children(relation, rule)

        assert finding.where == "post.author_id"
        assert message in finding.message

    def test_both_ways_out_of_a_refusing_key(self) -> None:
        """Who has written RESTRICT may mean it."""
        (finding,) = children('relationship(cascade="all, delete")', "RESTRICT")

        assert finding.fix.endswith('or take "delete" out of cascade=.')

    def test_made_by_the_other_side(self) -> None:
        """A relation that a backref makes is one as any other."""
        reverse = 'relationship(backref=orm.backref("entries", cascade="all, delete"))'

        (finding,) = children("relationship(viewonly=True)", "CASCADE", reverse)

        assert finding.message == "User.entries loads every child to delete it."

    @pytest.mark.parametrize(("relation", "rule"), [('cascade="all"', ""), ("", "CASCADE"), ("", "RESTRICT")])
    def test_one_child_has_its_own_word(self, relation: str, rule: str) -> None:
        """What brings one row is to be child()."""
        (finding,) = children(f"relationship(uselist=False, {relation})", rule)

        assert "or child(" in str(finding)


class TestSharedColumn:
    def test_other_key(self) -> None:
        """A column that is in two keys is looked at with the one that the relation follows."""
        source = """
class Tenant(Base):
    __tablename__ = "tenant"
    id: Mapped[int] = mapped_column(primary_key=True)

class Project(Base):
    __tablename__ = "project"
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenant.id"), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True)
    tasks: Mapped[list["Task"]] = relationship(cascade="all, delete", passive_deletes=True)

class Task(Base):
    __tablename__ = "task"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "project_id"], ["project.tenant_id", "project.id"], ondelete="CASCADE"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenant.id", ondelete="RESTRICT"))
    project_id: Mapped[int]
"""

        assert found_in("cascade-mismatch", source) == []


class TestParent:
    def test_delete_upwards(self) -> None:
        """A child that takes its parent along is found, whatever the foreign key says."""
        (finding,) = children(
            'relationship(passive_deletes="all")', "CASCADE", 'relationship(overlaps="posts", cascade="all, delete")'
        )

        assert finding.message == "Post.author deletes the parent together with any child."

    def test_single_parent(self) -> None:
        """What belongs to one row alone may go with it."""
        reverse = 'relationship(overlaps="posts", cascade="all, delete-orphan", single_parent=True)'

        assert children('relationship(passive_deletes="all")', "CASCADE", reverse) == []


class TestLinks:
    @pytest.mark.parametrize(
        ("relation", "rule"),
        [
            ('association("post_tag")', ""),
            ('relationship(secondary="post_tag")', ""),
            ('relationship(secondary="post_tag", passive_deletes=True)', "CASCADE"),
            ('relationship(secondary="post_tag", viewonly=True)', "CASCADE"),
        ],
    )
    def test_accepted(self, relation: str, rule: str) -> None:
        """One of both deletes the rows between."""
        assert links(relation, rule) == []

    @pytest.mark.parametrize(
        ("relation", "rule", "message"),
        [
            ('relationship(secondary="post_tag")', "CASCADE", "Post.tags loads everything on the other side"),
            ('relationship(secondary="post_tag", passive_deletes=True)', "", "Post.tags leaves the association rows"),
        ],
    )
    def test_refused(self, relation: str, rule: str, message: str) -> None:
        """Both do, or none."""
        (finding,) = links(relation, rule)

        assert finding.where == "post_tag.post_id"
        assert finding.message.startswith(message)


class TestInheritance:
    def test_a_relation_is_found_once(self) -> None:
        """Subclasses inherit a relation, and not its finding."""
        source = """
class User(Base):
    __tablename__ = "user"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "user"}
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    posts: Mapped[list["Post"]] = relationship(cascade="all, delete")

class Admin(User):
    __mapper_args__ = {"polymorphic_identity": "admin"}

class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
"""

        assert len(found_in("cascade-mismatch", source)) == 1
