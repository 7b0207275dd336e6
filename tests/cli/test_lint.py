"""sqlkeel lint."""

from __future__ import annotations

from pathlib import Path

from tests.migrations.project_folder import MODELS, make_project, run_command

BAD_NAME = MODELS.replace('__tablename__ = "user"', '__tablename__ = "tblUsers"')


class TestLint:
    def test_good_models_pass(self, tmp_path: Path) -> None:
        """The models of pyproject.toml are looked at, without a database."""
        done = run_command(make_project(tmp_path), "sqlkeel", "lint")

        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == "The models keep all rules.\n"

    def test_a_broken_rule_is_shown_with_its_fix(self, tmp_path: Path) -> None:
        """Exit code 1, where it is, and what to write."""
        done = run_command(make_project(tmp_path, models=BAD_NAME), "sqlkeel", "lint")

        assert done.returncode == 1
        assert "tblUsers" in done.stdout
        assert "fix: " in done.stdout

    def test_models_can_be_named(self, tmp_path: Path) -> None:
        """No pyproject.toml is needed then."""
        make_project(tmp_path)
        (tmp_path / "pyproject.toml").unlink()

        done = run_command(tmp_path, "sqlkeel", "lint", "shop_models:Base")

        assert done.returncode == 0, done.stdout + done.stderr
