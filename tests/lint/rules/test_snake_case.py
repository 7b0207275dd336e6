"""Tests of snake-case: names in small letters."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer

from tests.lint.examples import found


class TestSnakeCase:
    @pytest.mark.parametrize("name", ["a", "post", "post_like", "oauth2_token", "line_1", "_post"])
    def test_accepted(self, name: str) -> None:
        """Small letters, digits and single underscores, one of them in front."""
        assert not found("snake-case", Column(name, Integer))

    @pytest.mark.parametrize(
        ("name", "fix"),
        [
            ("Post", "post"),
            ("postLike", "post_like"),
            ("HTTPServer", "http_server"),
            ("post__like", "post_like"),
            ("__post", "post"),
            ("_Post", "post"),
            ("post_", "post"),
            ("post-like", "post_like"),
            ("Post like", "post_like"),
            ("post.like", "post_like"),
            ("e:mail", "e_mail"),
        ],
    )
    def test_refused(self, name: str, fix: str) -> None:
        """Anything else, with the name to use."""
        (finding,) = found("snake-case", Column(name, Integer))

        assert finding.where == f"thing.{name}"
        assert finding.fix == f'Call it "{fix}".'

    @pytest.mark.parametrize("name", ["字", "größe", "Straße", "c++", "price€", "total%"])
    def test_no_name_to_offer(self, name: str) -> None:
        """Where a letter or sign would be lost, the form is described."""
        (finding,) = found("snake-case", Column(name, Integer))

        assert "lower-case letters" in finding.fix
        assert finding.rename is None
