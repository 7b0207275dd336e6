"""Names of migration files, and the files that every directory has."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from sqlkeel.errors import MigrationError
from sqlkeel.migrations._files import MAX_SLUG, make_directory, new_file, require_environment, slug

DAY = date(2024, 8, 24)


class TestSlug:
    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            ("add users table", "add_users_table"),
            ("Add  Users-Table!", "add_users_table"),
            ("größe für Räume", "groe_fur_raume"),
            ("../../etc/passwd", "etc_passwd"),
            ("100 % sure", "100_sure"),
            ("表", "migration"),
            ("", "migration"),
        ],
    )
    def test_it_is_ascii_words(self, message: str, expected: str) -> None:
        """Letters and digits stay, all else separates words; a message without any is called a migration."""
        assert slug(message) == expected

    def test_the_longest_is_kept(self) -> None:
        """A slug of exactly the limit is not cut."""
        assert slug("a" * 24 + " " + "b" * (MAX_SLUG - 25)) == "a" * 24 + "_" + "b" * (MAX_SLUG - 25)

    def test_a_longer_one_loses_whole_words(self) -> None:
        """One character more costs the last word."""
        assert slug("a" * 24 + " " + "b" * (MAX_SLUG - 24)) == "a" * 24

    def test_one_long_word_is_cut(self) -> None:
        """A single word that is too long is cut at the limit."""
        assert slug("a" * 100) == "a" * MAX_SLUG


class TestNewFile:
    def test_it_has_day_and_slug(self, tmp_path: Path) -> None:
        """The name sorts by day and says what it is about."""
        with new_file(tmp_path, "add users table", day=DAY) as path:
            pass

        assert path == tmp_path / "2024-08-24_add_users_table.py"

    def test_a_taken_name_gets_a_number(self, tmp_path: Path) -> None:
        """The second and the third of one name and day carry their number."""
        (tmp_path / "2024-08-24_a.py").write_text("first")

        with new_file(tmp_path, "a", day=DAY) as second, new_file(tmp_path, "a", day=DAY) as third:
            pass

        assert (second.name, third.name) == ("2024-08-24_a_2.py", "2024-08-24_a_3.py")
        assert (tmp_path / "2024-08-24_a.py").read_text() == "first"

    def test_another_day_is_another_name(self, tmp_path: Path) -> None:
        """The same message on the next day needs no number."""
        with new_file(tmp_path, "a", day=DAY), new_file(tmp_path, "a", day=date(2024, 8, 25)) as path:
            pass

        assert path.name == "2024-08-25_a.py"

    def test_the_day_is_that_of_utc(self, tmp_path: Path) -> None:
        """A team in several time zones agrees on the day."""
        with new_file(tmp_path, "a") as path:
            pass

        assert path.name == f"{datetime.now(UTC).date()}_a.py"

    def test_a_failure_takes_the_file_away(self, tmp_path: Path) -> None:
        """An empty file would stop every later migration."""
        with pytest.raises(ZeroDivisionError), new_file(tmp_path, "a", day=DAY):
            _ = 1 / 0

        assert list(tmp_path.iterdir()) == []


class TestMakeDirectory:
    def test_what_is_there_stays(self, tmp_path: Path) -> None:
        """An env.py that was edited is not written again."""
        (tmp_path / "env.py").write_text("mine")

        with make_directory(tmp_path):
            pass

        assert (tmp_path / "env.py").read_text() == "mine"
        assert (tmp_path / "script.py.mako").is_file()

    def test_what_was_made_goes_when_the_work_fails(self, tmp_path: Path) -> None:
        """A folder that is left behind would be taken for the beginning of a history."""
        with pytest.raises(ZeroDivisionError), make_directory(tmp_path / "db" / "migrations"):
            _ = 1 / 0

        assert list(tmp_path.iterdir()) == []

    def test_what_was_there_does_not(self, tmp_path: Path) -> None:
        """Nor what somebody else has put there meanwhile."""
        (tmp_path / "env.py").write_text("mine")

        with pytest.raises(ZeroDivisionError), make_directory(tmp_path):
            _ = 1 / 0

        assert [one.name for one in tmp_path.iterdir()] == ["env.py"]


class TestRequireEnvironment:
    def test_a_directory_of_ours_will_do(self, tmp_path: Path) -> None:
        """versions/ may be missing: git does not keep an empty folder."""
        with make_directory(tmp_path):
            require_environment(tmp_path)

        assert not (tmp_path / "versions").exists()

    def test_a_foreign_env_is_refused(self, tmp_path: Path) -> None:
        """An env.py that would open its own connection says how to change it."""
        (tmp_path / "env.py").write_text("run_migrations_online()")

        with pytest.raises(MigrationError, match=r"env\.py does not call sqlkeel") as caught:
            require_environment(tmp_path)

        assert "from sqlkeel.migrations.env import run" in caught.value.hint
