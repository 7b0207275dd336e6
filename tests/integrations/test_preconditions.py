"""What a conditional request means: parsed as RFC 9110 says, compared strongly and weakly."""

from __future__ import annotations

import re
from collections.abc import Container

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sqlkeel.errors import InvalidETag, PreconditionRequired
from sqlkeel.integrations._preconditions import ANY, etag, expected_versions, is_known, require

MALFORMED = ["", " ", ",", ",,", "3", '"3', '3"', 'W"3"', 'w/"3"', "W/3", '"3" "4"', '"3", *', '*, "3"', "**", '"a b"']
MALFORMED += ['"\x7f"', '"3";', "'3'", '"3"x', '"""', 'W/ "3"']
versions = st.integers(0, 10**18 - 1)
spaces = st.text(" \t", max_size=3)


@st.composite
def tag_lists(draw: st.DrawFn) -> tuple[list[tuple[bool, int]], str]:
    """Draw versions, weak or strong, and a header that lists them: with empty elements, and spaces around each."""
    tags = draw(st.lists(st.tuples(st.booleans(), versions), min_size=1, max_size=5))
    items = [f'{"W/" if weak else ""}"{version}"' for weak, version in tags]
    filled = [item for one in items for item in (*draw(st.lists(st.just(""), max_size=2)), one)]
    return tags, ",".join(f"{draw(spaces)}{item}{draw(spaces)}" for item in filled)


class TestETag:
    @pytest.mark.parametrize(("version", "tag"), [(0, '"0"'), (1, '"1"'), (10**18 - 1, f'"{"9" * 18}"')])
    def test_it_comes_back(self, version: int, tag: str) -> None:
        """The tag of a version is strong, and is that version in either header."""
        assert etag(version) == tag
        assert expected_versions([tag]) == version
        assert is_known([tag], version)


class TestExpectedVersions:
    def test_without_the_header_there_are_none(self) -> None:
        """Nobody said anything of a version."""
        assert expected_versions([]) is None

    @pytest.mark.parametrize("header", ["*", " *", "*\t"])
    def test_a_star_is_any(self, header: str) -> None:
        """It asks for no more than that there is something to change."""
        found = expected_versions([header])

        assert found is ANY
        assert isinstance(found, Container)
        assert 17 in found
        assert repr(found) == "ANY"

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            (['"3"'], 3),
            (['  "3"\t'], 3),
            (['"3", "4"'], {3, 4}),
            (['"3","4"'], {3, 4}),
            (['"3"', '"4"'], {3, 4}),
            ([', "3",, ,"4",'], {3, 4}),
            (['W/"3"'], set()),
            (['W/"3", "4"'], {4}),
            (['"03"'], set()),
            (['"-1"'], set()),
            ([f'"{"9" * 19}"'], set()),
            (['"abc", "4"'], {4}),
            (['"3,4"'], set()),
            (['""'], set()),
            (['"\xb3"'], set()),
        ],
    )
    def test_they_are_compared_strongly(self, lines: list[str], expected: object) -> None:
        """Weak tags, and tags that no version of ours has, are well-formed and match nothing."""
        assert expected_versions(lines) == expected

    @pytest.mark.parametrize("header", MALFORMED)
    def test_what_is_malformed_is_refused(self, header: str) -> None:
        """What is no list of tags is an error of the client, not a version that does not match."""
        with pytest.raises(InvalidETag, match="If-Match"):
            expected_versions([header])

    @given(tag_lists())
    def test_any_list_is_understood(self, drawn: tuple[list[tuple[bool, int]], str]) -> None:
        """The strong ones of any list are expected, however it is spaced."""
        tags, header = drawn
        strong = {version for weak, version in tags if not weak}

        found = expected_versions([header])

        assert ({found} if isinstance(found, int) else found) == strong

    @example("\n")
    @example('"3"\n')
    @given(st.text(st.characters(max_codepoint=255), max_size=40))
    def test_any_text_is_a_list_or_refused(self, header: str) -> None:
        """Whatever a client sends, it is understood as the grammar says, or refused with our error."""
        item = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
        grammar = rf"[ \t,]*{item}(?:[ \t]*,[ \t,]*{item})*(?:[ \t]*,)*[ \t]*|[ \t]*\*[ \t]*"

        assert accepts(header) is (re.fullmatch(grammar, header) is not None)

    def test_a_long_header_takes_no_time(self) -> None:
        """Spaces and commas without end are gone through once."""
        assert not accepts(" " * 100_000 + "x")
        assert not accepts(", " * 50_000 + "x")
        assert accepts('"3"' + " ," * 50_000)


class TestRequire:
    @pytest.mark.parametrize("versions", [3, 0, frozenset(), ANY])
    def test_what_is_there_passes(self, versions: int | Container[int]) -> None:
        """Also a list of which nothing can match: that is a conflict, and no missing header."""
        assert require(versions) is versions

    def test_what_is_missing_is_refused(self) -> None:
        """Without it nobody could tell whether an update is lost."""
        with pytest.raises(PreconditionRequired):
            require(None)


class TestIsKnown:
    @pytest.mark.parametrize(
        ("lines", "known"),
        [
            ([], False),
            (["*"], True),
            (['"3"'], True),
            (['W/"3"'], True),
            (['"2", W/"3"'], True),
            (['"2"', '"3"'], True),
            (['"2"'], False),
            (['"abc"'], False),
            (['"03"'], False),
        ],
    )
    def test_it_is_compared_weakly(self, lines: list[str], known: bool) -> None:
        """A proxy that compressed the answer made its tag weak; it is the same version."""
        assert is_known(lines, 3) is known

    @pytest.mark.parametrize("header", MALFORMED)
    def test_what_is_malformed_is_refused(self, header: str) -> None:
        """As with the other header, which the message tells."""
        with pytest.raises(InvalidETag, match="If-None-Match"):
            is_known([header], 3)


def accepts(header: str) -> bool:
    """Tell whether a header is understood."""
    try:
        expected_versions([header])
    except InvalidETag:
        return False
    return True
