"""Public ids: one text for each UUID, that says what it is an id of, and leads back."""

from __future__ import annotations

import pickle
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.errors import ConfigurationError, InvalidKey, NotFound
from sqlkeel.models import DualIDMixin, PublicID
from sqlkeel.models._public_ids import prefix_of, public_id_of, uuid_of
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    """The tables of these tests."""


class User(DualIDMixin, Base):
    """Has a prefix."""

    __tablename__ = "user"
    __public_prefix__ = "usr"
    name: Mapped[str] = mapped_column(default="")


class Order(DualIDMixin, Base):
    """Has another prefix, with an underscore in it."""

    __tablename__ = "order_"
    __public_prefix__ = "pre_fix"


class Plain(DualIDMixin, Base):
    """Has none."""

    __tablename__ = "plain"


class Tag(DualIDMixin, Base):
    """Has none either."""

    __tablename__ = "tag"


class Prefix:
    """Has the prefix of the specification's own examples."""

    __public_prefix__ = "prefix"


pytestmark = pytest.mark.tables(Base.metadata)

KEY = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
TEXT = "usr_01h455vb4pex5vsknk084sn02q"

# The examples of the specification: jetify-com/typeid, spec/valid.json and spec/invalid.json, version 0.3.
VALID = {
    "00000000000000000000000000": "00000000-0000-0000-0000-000000000000",
    "00000000000000000000000001": "00000000-0000-0000-0000-000000000001",
    "0000000000000000000000000a": "00000000-0000-0000-0000-00000000000a",
    "0000000000000000000000000g": "00000000-0000-0000-0000-000000000010",
    "00000000000000000000000010": "00000000-0000-0000-0000-000000000020",
    "7zzzzzzzzzzzzzzzzzzzzzzzzz": "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "0123456789abcdefghjkmnpqrs": "0110c853-1d09-52d8-d73e-1194e95b5f19",
    "01h455vb4pex5vsknk084sn02q": "01890a5d-ac96-774b-bcce-b302099a8057",
}
INVALID = [
    "",
    "PREFIX_00000000000000000000000000",
    "12345_00000000000000000000000000",
    "pre.fix_00000000000000000000000000",
    "préfix_00000000000000000000000000",
    "  prefix_00000000000000000000000000",
    "_00000000000000000000000000",
    "_",
    "00000000000000000000000000",
    "prefix_1234567890123456789012345",
    "prefix_123456789012345678901234567",
    "prefix_1234567890123456789012345 ",
    "prefix_01h455vb4pex5vsknk084sn02q\n",
    "prefix_0123456789ABCDEFGHJKMNPQRS",
    "prefix_123456789-123456789-123456",
    "prefix_ooooooiiiiiiuuuuuuulllllll",
    "prefix_i23456789ol23456789oi23456",
    "prefix_123456789-0123456789-0123456",
    "prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    "_prefix_00000000000000000000000000",
    "prefix__00000000000000000000000000",
    "prefix_०१२३४५६७८९०१२३४५६७८९०१२३४५",
    "usr_01h455vb4pex5vsknk084sn02q",
    "01890a5d-ac96-774b-bcce-b302099a8057",
]

keys = st.uuids(version=None)


class TestText:
    @pytest.mark.parametrize(("suffix", "key"), VALID.items())
    def test_it_is_the_one_of_the_specification(self, suffix: str, key: str) -> None:
        """Every example of a valid TypeID is written and read so."""
        found = PublicID[Prefix].parse(f"prefix_{suffix}")

        assert found.uuid == uuid.UUID(key)
        assert str(PublicID[Prefix](uuid.UUID(key))) == f"prefix_{suffix}"

    @pytest.mark.parametrize("text", INVALID)
    def test_anything_else_is_refused(self, text: str) -> None:
        """Another prefix, case, alphabet, length, or more than 128 bits."""
        with pytest.raises(InvalidKey, match="is not a public id of Prefix"):
            PublicID[Prefix].parse(text)

    @given(key=keys)
    def test_it_leads_back(self, key: uuid.UUID) -> None:
        """For every UUID, with and without a prefix."""
        assert PublicID[User].parse(str(PublicID[User](key))).uuid == key
        assert PublicID[Plain].parse(str(PublicID[Plain](key))).uuid == key

    @given(first=keys, second=keys)
    def test_texts_sort_as_the_keys_do(self, first: uuid.UUID, second: uuid.UUID) -> None:
        """For every two UUIDs."""
        texts = str(PublicID[User](first)), str(PublicID[User](second))

        assert (texts[0] < texts[1]) == (first < second)

    @given(text=st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=26, max_size=26))
    def test_each_id_has_one_text(self, text: str) -> None:
        """What is read at all is written the same."""
        written = f"usr_{text}"

        assert _read(written) in {written, None}

    def test_without_a_prefix_it_is_the_uuid(self) -> None:
        """Its case does not matter there, as RFC 9562 has it; it is written small."""
        found = PublicID[Plain].parse(str(KEY).upper())

        assert (found.uuid, str(found)) == (KEY, str(KEY))

    @pytest.mark.parametrize("text", ["", "x", KEY.hex, f"{{{KEY}}}", f"urn:uuid:{KEY}", TEXT, f"{KEY}\n"])
    def test_other_forms_of_a_uuid_are_refused(self, text: str) -> None:
        """Python reads five forms; outside there is one."""
        with pytest.raises(InvalidKey):
            PublicID[Plain].parse(text)


class TestPrefix:
    @pytest.mark.parametrize("prefix", ["u", "usr", "pre_fix", "a__b", "a" * 63])
    def test_a_good_one(self, prefix: str) -> None:
        """Small letters with underscores between them, at most 63."""
        assert prefix_of(type("Model", (), {"__public_prefix__": prefix})) == prefix

    @pytest.mark.parametrize("prefix", ["_a", "a_", "_", "Usr", "u1", "ü", "a b", "a" * 64, "usr\n", None, 1])
    def test_a_bad_one_is_refused_with_the_class(self, prefix: Any) -> None:
        """The class statement fails, and not the first request."""
        with pytest.raises(ConfigurationError, match="__public_prefix__ is "):
            type("Model", (DualIDMixin,), {"__public_prefix__": prefix})

    def test_two_models_do_not_share_one(self) -> None:
        """An id would not say what it is of; models of another base have theirs."""

        class Own(sqlkeel.Base):
            pass

        def model(above: type[Any], name: str) -> type[Any]:
            return type(name, (DualIDMixin, above), {"__tablename__": name.lower(), "__public_prefix__": "usr"})

        _kept = model(Own, "Member")  # mappers are held weakly

        with pytest.raises(ConfigurationError, match="Guest and Member both have the __public_prefix__ 'usr'"):
            model(Own, "Guest")

    def test_a_mapped_subclass_shares_it(self) -> None:
        """It has the rows of its parent."""

        class Own(sqlkeel.Base):
            pass

        member: Any = type("Member", (DualIDMixin, Own), {"__tablename__": "member", "__public_prefix__": "usr"})

        assert prefix_of(type("Admin", (member,), {})) == "usr"

    def test_a_subclass_has_the_one_of_its_parent(self) -> None:
        """Rows of one table have ids of one form."""
        assert prefix_of(type("Admin", (Prefix,), {})) == "prefix"


class TestPublicID:
    def test_a_row_has_one(self) -> None:
        """The property writes what the outside sees."""
        ref = User(public_id=KEY).public_ref

        assert str(ref) == TEXT
        assert repr(ref) == f"PublicID[User]('{TEXT}')"

    def test_it_equals_its_own_kind_only(self) -> None:
        """An id of an order is not that of a user, whatever its UUID."""
        assert PublicID[User](KEY) == PublicID[User].parse(TEXT)
        assert PublicID[User](KEY) != PublicID[Order](KEY)
        assert PublicID[User](KEY) != KEY
        assert len({PublicID[User](KEY), PublicID[User].parse(TEXT), PublicID[Order](KEY)}) == 2

    def test_it_travels(self) -> None:
        """It pickles with its model."""
        assert pickle.loads(pickle.dumps(PublicID[User](KEY))) == PublicID[User](KEY)

    def test_it_needs_a_model(self) -> None:
        """Nobody knows the prefix otherwise."""
        with pytest.raises(ConfigurationError, match="without a model"):
            PublicID(KEY)

    def test_it_is_made_of_a_uuid(self) -> None:
        """A text would fail where it is written, far from here."""
        with pytest.raises(InvalidKey, match="is not a UUID") as caught:
            PublicID[User](TEXT)  # type: ignore[arg-type]

        assert caught.value.hint == "PublicID[User].parse(text)"

    def test_one_class_for_each_model(self) -> None:
        """Written twice it is the same."""
        assert PublicID[User] is public_id_of(User)


class TestUuidOf:
    @pytest.mark.parametrize("given", [KEY, TEXT, PublicID[User](KEY)], ids=str)
    def test_every_form_is_read(self, given: Any) -> None:
        """A UUID, the text, and the object."""
        assert uuid_of(given, User) == KEY

    @pytest.mark.parametrize("given", [str(KEY), "x", PublicID[Order](KEY), 7, None], ids=str)
    def test_others_are_refused(self, given: Any) -> None:
        """An id of another model, and what is no id."""
        with pytest.raises(InvalidKey):
            uuid_of(given, User)

    def test_no_prefix_is_no_kind(self) -> None:
        """Two models without one have different ids; a subclass has those of its parent."""
        special = type("Special", (Plain,), {})

        with pytest.raises(InvalidKey):
            uuid_of(PublicID[Plain](KEY), Tag)
        assert uuid_of(public_id_of(special)(KEY), Plain) == uuid_of(PublicID[Plain](KEY), special) == KEY


class TestRepository:
    @pytest.mark.parametrize("form", [str, lambda ref: ref, lambda ref: ref.uuid], ids=["text", "object", "uuid"])
    async def test_it_finds_by_every_form(self, every_driver: Database, form: Any) -> None:
        """The database compares UUIDs."""
        async with every_driver.transaction() as session:
            session.add(user := User())

        async with every_driver.read() as session:
            found = await Repository(session, User).get_one_by_public_id(form(user.public_ref))

        assert found.id == user.id

    @pytest.mark.parametrize("form", ["usr_x", str(KEY), PublicID[Order](KEY), PublicID[User](KEY), KEY], ids=str)
    async def test_what_is_none_is_not_found(self, sqlite: Database, form: Any) -> None:
        """Malformed, of another model, and unknown are the same to the outside; malformed costs no statement."""
        async with sqlite.read() as session:
            with pytest.raises(NotFound, match="There is no User"):
                await Repository(session, User).get_one_by_public_id(form)


class Out(BaseModel):
    """A response."""

    model_config = ConfigDict(from_attributes=True)
    public_id: PublicID[User]
    plain: PublicID[Plain] | None = None


class TestPydantic:
    def test_a_row_is_written_as_text(self) -> None:
        """The attribute is a UUID, the document has the text."""
        out = Out.model_validate(User(public_id=KEY))

        assert out.public_id == PublicID[User](KEY)
        assert out.model_dump(mode="json") == {"public_id": TEXT, "plain": None}
        assert out.model_dump() == {"public_id": PublicID[User](KEY), "plain": None}

    def test_a_text_is_read(self) -> None:
        """What was written is read again."""
        out = Out.model_validate_json(f'{{"public_id": "{TEXT}", "plain": "{KEY}"}}')

        assert (out.public_id, out.plain) == (PublicID[User](KEY), PublicID[Plain](KEY))

    @pytest.mark.parametrize("value", ["usr_x", str(KEY), 7, None, PublicID[Order](KEY)], ids=str)
    def test_a_wrong_one_is_an_error_of_the_field(self, value: object) -> None:
        """It has a type of its own and says the form, and no more."""
        with pytest.raises(ValidationError) as caught:
            Out.model_validate({"public_id": value})

        [error] = caught.value.errors()
        assert (error["type"], error["msg"]) == ("public_id", "Input should be usr_ and 26 characters")

    def test_the_schema_says_the_form(self) -> None:
        """A pattern with a prefix, the format uuid without."""
        fields = Out.model_json_schema()["properties"]

        assert fields["public_id"]["pattern"] == "^usr_[0-7][0-9a-hjkmnp-tv-z]{25}$"
        assert fields["plain"]["anyOf"][0] == {"type": "string", "format": "uuid"}


def _read(text: str) -> str | None:
    try:
        return str(PublicID[User].parse(text))
    except InvalidKey:
        return None
