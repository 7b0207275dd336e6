"""What `make` installs for a command, and that it says so first."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def planned(target: str, venv: Path) -> list[str]:
    """Return what would be run where there is no environment yet."""
    command = ["make", "--dry-run", target, f"VENV={venv}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def place_of(lines: list[str], text: str) -> int:
    """Return where the one line is that has the text."""
    (place,) = [number for number, line in enumerate(lines) if text in line]
    return place


class TestDemo:
    def test_it_installs_what_it_needs(self, tmp_path: Path) -> None:
        """None of the tools of the tests: `.ci/run` does it, and runs the demo in what it has made."""
        text = "\n".join(planned("demo", tmp_path))

        assert "--group demo" in text
        assert "--group dev" not in text

    @pytest.mark.parametrize(("said", "done"), [('echo "Making', "-m venv"), ('echo "Installing', "--editable")])
    def test_it_says_what_it_does_before_it_does_it(self, tmp_path: Path, said: str, done: str) -> None:
        """Each step that takes time has a line of its own."""
        lines = planned("demo", tmp_path)

        assert place_of(lines, said) < place_of(lines, done) < place_of(lines, "sqlkeel demo")


class TestTests:
    def test_they_need_what_the_demo_needs(self, tmp_path: Path) -> None:
        """Who runs the demo after the tests installs nothing more."""
        text = "\n".join(planned("test", tmp_path))

        assert "--group dev" in text
        assert f"touch {tmp_path}/.demo" in text
