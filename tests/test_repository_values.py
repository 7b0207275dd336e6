"""Tests of repository._repository: what a row is given, as a mapping, as keywords, or as both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, IntKeyMixin, Repository
from sqlkeel.errors import InvalidValue, UnknownField


class Base(sqlkeel.Base):
    pass


class Word(IntKeyMixin, Base):
    """Some of its fields have the names of parameters."""

    __tablename__ = "word"
    text: Mapped[str] = mapped_column(String(20), unique=True)
    obj: Mapped[str | None]
    values: Mapped[str | None]
    update: Mapped[str | None]


pytestmark = pytest.mark.tables(Base.metadata)
Words = Repository[Word]

VERBS: dict[str, Callable[..., Awaitable[Any]]] = {
    "create": lambda words, _, *values, **fields: words.create(*values, **fields),
    "update": lambda words, word, *values, **fields: words.update(word, *values, **fields),
    "upsert": lambda words, _, *values, **fields: words.upsert(*values, on=[Word.text], **fields),
    "get_or_create": lambda words, _, *values, **fields: words.get_or_create(*values, **fields),
}


def row_in(result: Any) -> Word:
    """Return the row, which some verbs bring in a pair."""
    return result[0] if isinstance(result, tuple) else result


async def rows() -> AsyncIterator[dict[str, Any]]:
    """Give two rows, one after the other."""
    yield {"text": "b"}
    yield {"text": "c"}


class TestForms:
    @pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
    @pytest.mark.parametrize(
        ("values", "fields"),
        [([{"text": "b"}], {}), ([], {"text": "b"}), ([{"text": "x"}], {"text": "b"})],
        ids=["mapping", "keywords", "both"],
    )
    async def test_every_verb_takes_them(self, sqlite: Database, verb: Any, values: Any, fields: Any) -> None:
        """A mapping, keywords, or both, of which the keywords win."""
        async with sqlite.transaction() as session:
            words = Repository(session, Word)
            word = await words.create(text="a")

            assert row_in(await verb(words, word, *values, **fields)).text == "b"

    async def test_fields_with_the_names_of_parameters(self, sqlite: Database) -> None:
        """A field may be called as a parameter is; one that is called as an option comes in the mapping."""
        async with sqlite.transaction() as session:
            words = Repository(session, Word)
            word = await words.create(text="a", obj="o", values="v", update="u")
            await words.update(word, obj="p", values="w")
            (word, _) = await words.upsert({"update": "x"}, text="a", on=[Word.text], update=[Word.update])

            assert (word.obj, word.values, word.update) == ("p", "w", "x")

    async def test_get_or_create_has_defaults_beside(self, sqlite: Database) -> None:
        """The keywords are the key, and *defaults* is what a new row gets."""
        async with sqlite.transaction() as session:
            words = Repository(session, Word)
            made, created = await words.get_or_create(text="a", defaults={"obj": "o"})
            found, again = await words.get_or_create({"text": "a"}, {"obj": "p"})

            assert (created, again, found, made.obj) == (True, False, made, "o")


class TestRefused:
    @pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
    @pytest.mark.parametrize("given", [[("text", "b")], "text", 3, Word(text="b")], ids=["pairs", "text", "int", "row"])
    async def test_what_is_no_mapping(self, sqlite: Database, verb: Any, given: Any) -> None:
        """It is refused, with what would be one."""
        async with sqlite.transaction() as session:
            words = Repository(session, Word)
            word = await words.create(text="a")

            with pytest.raises(InvalidValue, match="are a mapping of field names, or keywords"):
                await verb(words, word, given)

    @pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
    async def test_attributes_for_names(self, sqlite: Database, verb: Any) -> None:
        """A field is named by a text, as in ``Model(**values)``."""
        async with sqlite.transaction() as session:
            words = Repository(session, Word)
            word = await words.create(text="a")

            with pytest.raises(UnknownField, match=r'Word\.text: one is named by a text[^$]*\{"text": \.\.\.\}'):
                await verb(words, word, {Word.text: "b"})


class TestMany:
    async def test_objects_come_back(self, every_driver: Database) -> None:
        """Rows that are inserted with their objects come in the order of the rows."""
        async with every_driver.transaction() as session:
            made = await Repository(session, Word).insert_many_returning(rows())

            assert [word.text for word in made] == ["b", "c"]
            assert all(word in session for word in made)

    async def test_an_asynchronous_source(self, every_driver: Database) -> None:
        """Updates and deletions read one, as insertions do."""
        async with every_driver.transaction() as session:
            words = Repository(session, Word)
            made = await words.insert_many_returning(rows())

            async def changes() -> AsyncIterator[dict[str, Any]]:
                for word in made:
                    yield {"id": word.id, "obj": word.text}

            async def keys() -> AsyncIterator[int]:
                for word in made:
                    yield word.id

            assert await words.update_many(changes()) == 2
            assert [word.obj for word in made] == ["b", "c"]
            assert await words.delete_many(keys()) == 2
