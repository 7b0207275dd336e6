"""Tests of sqlkeel.lint._revision: code is put into an empty revision, and into no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlkeel.errors import ConfigurationError
from sqlkeel.lint._revision import fill_revision

EMPTY = '''\
"""A message."""

revision = "1"


def upgrade() -> None:
    pass


def downgrade() -> None:
    """Take it back."""
    pass
'''


class TestFillRevision:
    def test_bodies(self, tmp_path: Path) -> None:
        """Both bodies are written, indented as they were; all else stays."""
        path = tmp_path / "one.py"
        path.write_text(EMPTY)

        fill_revision(path, upgrade="with a as b:\n    b.c()\nd()", downgrade="e()")

        assert path.read_text() == EMPTY.replace("    pass", "    with a as b:\n        b.c()\n    d()", 1).replace(
            "    pass", "    e()", 1
        )

    @pytest.mark.parametrize(
        "text", [EMPTY.replace("    pass", "    work()"), EMPTY.replace("def down", "def other_down")]
    )
    def test_other_template(self, tmp_path: Path, text: str) -> None:
        """Where there is nothing empty, no revision that does half of it is left."""
        path = tmp_path / "one.py"
        path.write_text(text)

        with pytest.raises(ConfigurationError, match=r"one\.py had no empty (up|down)grade\(\)"):
            fill_revision(path, upgrade="a()", downgrade="b()")

        assert not path.exists()
