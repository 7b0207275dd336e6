"""Reading a database URL, and finding who speaks to that database."""

from __future__ import annotations

import importlib.util
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import URL

from sqlkeel.engines import _backend as backend
from sqlkeel.engines._backend import Limits, backend_for, parse_url
from sqlkeel.errors import DriverMissing, InvalidURL, InvalidValue
from sqlkeel.sessions import Database


class TestParseURL:
    @pytest.mark.parametrize(
        ("url", "driver"),
        [
            ("sqlite:///app.db", "sqlite+aiosqlite"),
            ("sqlite+aiosqlite://", "sqlite+aiosqlite"),
            ("postgresql://localhost/app", "postgresql+asyncpg"),
            ("postgresql+psycopg://localhost/app", "postgresql+psycopg"),
            ("mariadb://localhost/app", "mariadb+asyncmy"),
            ("mysql://localhost/app", "mariadb+asyncmy"),
            ("mysql+asyncmy://localhost/app", "mariadb+asyncmy"),
        ],
    )
    def test_the_driver_is_named(self, url: str, driver: str) -> None:
        """A URL without a driver gets the preferred one, and MySQL's name means MariaDB."""
        assert parse_url(url).drivername == driver

    @pytest.mark.parametrize("password", ["p@ss", "a:b/c", "ä ö%", "#?&=+", "'\"\\"])
    def test_passwords_keep_their_characters(self, password: str) -> None:
        """What is percent-encoded in the text is what the server gets."""
        written = URL.create("postgresql", "user", password, "localhost", 5432, "app")

        parsed = parse_url(written.render_as_string(hide_password=False))

        assert parsed.password == password
        assert (parsed.username, parsed.host, parsed.port, parsed.database) == ("user", "localhost", 5432, "app")

    def test_a_url_object_will_do(self) -> None:
        """What SQLAlchemy made is taken as it is."""
        assert parse_url(URL.create("sqlite", database="app.db")).database == "app.db"

    def test_the_query_is_kept(self) -> None:
        """Options of the driver stay in the URL."""
        assert parse_url("mariadb://localhost/app?charset=utf8mb4").query == {"charset": "utf8mb4"}

    @pytest.mark.parametrize("url", ["", "app.db", "localhost:5432/app", "postgresql://localhost:port/app"])
    def test_what_is_no_url(self, url: str) -> None:
        """The error shows how one is written, and does not repeat what may hold a password."""
        with pytest.raises(InvalidURL, match="cannot be read") as caught:
            parse_url(url)

        assert "sqlite+aiosqlite:///app.db" in caught.value.hint
        assert caught.value.__cause__ is None

    def test_an_unreadable_url_is_not_repeated(self) -> None:
        """A password in it stays unseen, in the chain of errors too."""
        with pytest.raises(InvalidURL) as caught:
            parse_url("postgresql://user:s3cret@localhost:port/app")

        assert "s3cret" not in str(caught.value)
        assert caught.value.__suppress_context__

    @pytest.mark.parametrize(
        "rest",
        [
            "app:s3cret@hidden@localhost/shop",
            "app:s3cret@hidden@localhost:5432/shop",
            "app:s3cret@hid/den@localhost/shop",
            "app:s3cret@hid?den@localhost/shop",
            "app:s3cret@hid/den@localhost",
            "app:s3cret@/hidden@localhost",
            "app:s3cret@/hidden@localhost/shop",
            "app:s3cret@hid/den@?connect_timeout=3",
        ],
    )
    @pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgresql+psycopg", "mariadb+asyncmy"])
    def test_a_password_that_reaches_into_the_host_is_refused(self, scheme: str, rest: str) -> None:
        """What is not percent-encoded would be taken for the host, and shown; the error repeats nothing of it."""
        with pytest.raises(InvalidURL, match="@") as caught:
            parse_url(f"{scheme}://{rest}")

        assert "Percent-encode" in caught.value.hint
        assert "s3cret" not in str(caught.value)
        assert "hid" not in str(caught.value)

    def test_a_host_with_an_at_sign_is_refused_in_any_form(self) -> None:
        """A URL that was made of parts is read as well."""
        with pytest.raises(InvalidURL, match="in its host"):
            parse_url(URL.create("postgresql", host="hidden@localhost", database="app"))

    def test_the_name_of_a_database_may_have_an_at_sign(self) -> None:
        """It is percent-encoded there, too."""
        assert parse_url("postgresql://app:s3cret@localhost/shop%40old").database == "shop@old"

    def test_a_user_may_have_an_at_sign(self) -> None:
        """As those of some hosting companies have."""
        parsed = parse_url("postgresql://app@server:s3cret@localhost/shop?application_name=a@b")

        assert (parsed.username, parsed.password, parsed.host) == ("app@server", "s3cret", "localhost")

    @pytest.mark.parametrize("password", ["s3c@ret", "s3c/ret", "s3c?ret", "s3c#ret", "s3c:ret", "s3c%ret", "s3c ret"])
    def test_an_encoded_password_is_read(self, password: str) -> None:
        """Whatever characters it has."""
        parsed = parse_url(f"postgresql://app:{quote(password, safe='')}@localhost:5432/shop")

        assert (parsed.password, parsed.host, parsed.port, parsed.database) == (password, "localhost", 5432, "shop")

    @pytest.mark.parametrize("path", ["/srv/a@b/app.db", "a@b/c@d.db"])
    def test_a_file_may_have_an_at_sign(self, path: str) -> None:
        """SQLite has no password, and its database is a path."""
        assert parse_url(f"sqlite:///{path}").database == path

    @pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgresql+psycopg", "mariadb+asyncmy"])
    def test_a_password_in_the_query_is_hidden(self, scheme: str) -> None:
        """It reaches the driver, and is not shown with the URL."""
        parsed = parse_url(f"{scheme}://localhost/shop?user=app&password=s3cret")

        [_, arguments] = parsed.get_dialect()().create_connect_args(parsed)
        assert arguments["password"] == "s3cret"
        assert arguments["user"] == "app"
        assert "s3cret" not in str(parsed)
        assert "s3cret" not in repr(Database(parsed))

    @pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgresql+psycopg", "mariadb+asyncmy"])
    @pytest.mark.parametrize("place", ["app@localhost:5432", "localhost:5432", "app@localhost:"])
    def test_an_at_sign_of_a_password_in_the_query(self, scheme: str, place: str) -> None:
        """Behind a port it would make a password of all that is before it, and show the rest as the host."""
        with pytest.raises(InvalidURL, match="@") as caught:
            parse_url(f"{scheme}://{place}/shop?password=s3@cret")

        assert "cret" not in str(caught.value)

    def test_a_path_in_a_password(self) -> None:
        """A password that is percent-encoded may look like the end of a URL."""
        parsed = parse_url("postgresql+asyncpg://app:1%2Fdb%3Fx%3D1@localhost:5432/shop?ssl=require")

        assert (parsed.password, parsed.host) == ("1/db?x=1", "localhost")

    @pytest.mark.parametrize("value", ["-c%20app.jwt_secret%3Ds3cret", "-capp.token%3Ds3cret"])
    def test_a_secret_in_the_settings_of_libpq(self, value: str) -> None:
        """A setting that is called a secret is none to show with the URL."""
        with pytest.raises(InvalidURL, match="options") as caught:
            parse_url(f"postgresql+psycopg://localhost/shop?options={value}")

        assert "s3cret" not in str(caught.value)

    def test_a_setting_of_libpq_that_is_none(self) -> None:
        """What a setting is called counts, and not what it is set to."""
        parsed = parse_url("postgresql+psycopg://localhost/shop?options=-c%20search_path%3Dtokens")

        assert parsed.query["options"] == "-c search_path=tokens"

    @pytest.mark.parametrize("name", ["PGPASSWORD", "PASSWORD", "pwd", "pass", "db_pass", "user_password"])
    def test_a_password_under_a_name_that_no_driver_has(self, name: str) -> None:
        """It is refused with the name that the drivers have."""
        with pytest.raises(InvalidURL, match=name) as caught:
            parse_url(f"postgresql+psycopg://localhost/shop?{name}=s3cret")

        assert caught.value.hint == "Database(url, connect_args={'password': ...})"

    @pytest.mark.parametrize(
        "name",
        [
            "sslpassword",
            "passwd",
            "PASSWORD",
            "Passwd",
            "oauth_client_secret",
            "scram_client_key",
            "token",
            "pass",
            "db_pass",
            "user_password",
            "sslkey_password",
            "passwords",
        ],
    )
    @pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgresql+psycopg", "mariadb+asyncmy"])
    def test_another_secret_is_refused_in_the_query(self, scheme: str, name: str) -> None:
        """The password of a key file, or a password under another name, has no place in a URL where it is hidden."""
        with pytest.raises(InvalidURL, match=name) as caught:
            parse_url(f"{scheme}://localhost/shop?{name}=s3cret")

        assert "connect_args" in caught.value.hint
        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize(
        "option", ["passfile=/pgpass", "options=-c%20password_encryption%3Dmd5", "options=-c%20a.bypass%3D1"]
    )
    def test_what_is_called_alike_is_no_secret(self, option: str) -> None:
        """A path, and settings of the server."""
        assert parse_url(f"postgresql+psycopg://localhost/shop?{option}").query

    @pytest.mark.parametrize(
        "rest", [";password=s3cret", "&password=s3cret", "#pwd=s3cret", "; user=a; Password = s3cret"]
    )
    def test_a_secret_in_the_name_of_the_database(self, rest: str) -> None:
        """Where other programs have their parameters, or the question mark was forgotten: the name is shown."""
        with pytest.raises(InvalidURL, match="name of the database") as caught:
            parse_url(f"postgresql+asyncpg://app@localhost/shop{rest}")

        assert "s3cret" not in str(caught.value)

    def test_what_could_not_be_read_is_in_no_context(self) -> None:
        """A report that walks the chain of errors would show the password as what is no port."""
        with pytest.raises(InvalidURL, match="cannot be read") as caught:
            parse_url("postgresql+asyncpg://app:s3cret")

        assert caught.value.__context__ is None

    @pytest.mark.parametrize("name", ["key", "hexkey", "textkey", "passphrase", "token"])
    @pytest.mark.parametrize("file", ["/app.db?", "/file:app.db?uri=true&"])
    def test_the_key_of_a_file_is_refused(self, file: str, name: str) -> None:
        """SQLite's driver takes none, in a URI neither, and the hint does not send it there."""
        with pytest.raises(InvalidURL, match=f"has {name} in its query") as caught:
            parse_url(f"sqlite+aiosqlite://{file}{name}=s3cret")

        assert "connect_args" not in caught.value.hint
        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize("rest", ["///app.db?password=s3cret", "//app:s3cret@/app.db", "//app@/app.db"])
    def test_a_file_has_no_user(self, rest: str) -> None:
        """Nor a password, which SQLAlchemy refuses in words of its own."""
        with pytest.raises(InvalidURL, match="a file, but the URL names a user or a password") as caught:
            parse_url(f"sqlite+aiosqlite:{rest}")

        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize("name", ["api_key", "mode", "timeuot"])
    def test_an_option_that_a_file_does_not_have(self, name: str) -> None:
        """SQLAlchemy drops it without a word; the other drivers refuse it when they connect."""
        with pytest.raises(InvalidURL, match=f"The URL has an option '{name}'"):
            Database(f"sqlite+aiosqlite:///app.db?{name}=ro")

    @pytest.mark.parametrize("query", ["timeout=3", "cached_statements=5", "uri=true&mode=ro&cache=shared"])
    def test_the_options_of_a_file(self, query: str) -> None:
        """The driver's, and in a URI those of SQLite."""
        assert Database(f"sqlite+aiosqlite:///file:app.db?{query}").dialect == "sqlite"

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite+aiosqlite:///app.db?timeout=s3cret",
            "mariadb+asyncmy://db/app?connect_timeout=s3cret",
            "postgresql+asyncpg://db/app?prepared_statement_cache_size=s3cret",
        ],
    )
    def test_a_value_that_is_no_number(self, url: str) -> None:
        """The options are named, and no value of one, in the chain of errors neither."""
        with pytest.raises(InvalidURL, match=r"cannot be read; it has .*(timeout|size)") as caught:
            parse_url(url)

        assert "s3cret" not in str(caught.value)
        assert caught.value.__context__ is None

    async def test_a_connection_keeps_no_password_in_the_clear(self, server: Database) -> None:
        """MariaDB keeps with a connection how to call its driver once more: names are shown, and no value."""
        async with server.engine.connect() as connection:
            pooled = await connection.get_raw_connection()
            shown = repr(pooled.info) + repr(pooled.record_info)

        assert ("password" in shown) is (server.url.get_backend_name() == "mariadb")
        assert str(server.url.password) not in shown

    @pytest.mark.parametrize("url", ["sqlite://shop.db", "sqlite+aiosqlite://shop/app.db"])
    def test_a_file_has_no_host(self, url: str) -> None:
        """Two slashes in the place of three: SQLAlchemy says so later, and in words of its own."""
        with pytest.raises(InvalidURL, match="names a host") as caught:
            parse_url(url)

        assert "sqlite+aiosqlite:///" in caught.value.hint

    def test_postgres_is_written_postgresql(self) -> None:
        """The scheme that hosting companies hand out is named in the hint."""
        with pytest.raises(InvalidURL, match="does not support 'postgres'") as caught:
            parse_url("postgres://user@localhost/app")

        assert "postgresql://" in caught.value.hint

    @pytest.mark.parametrize("url", ["oracle://localhost/app", "mssql+pyodbc://localhost/app", "redis://localhost"])
    def test_an_unknown_database(self, url: str) -> None:
        """The error says which databases there are."""
        with pytest.raises(InvalidURL, match="it supports sqlite, postgresql, mariadb"):
            parse_url(url)

    @pytest.mark.parametrize(
        ("url", "hint"),
        [
            ("postgresql+psycopg2://localhost/app", "postgresql+asyncpg://"),
            ("postgresql+pg8000://localhost/app", "postgresql+asyncpg://"),
            ("mysql+pymysql://localhost/app", "mariadb+asyncmy://"),
            ("mysql+aiomysql://localhost/app", "mariadb+asyncmy://"),
            ("sqlite+pysqlite:///app.db", "sqlite+aiosqlite://"),
        ],
    )
    def test_another_driver(self, url: str, hint: str) -> None:
        """A synchronous or unsupported driver is refused, with the one to write instead."""
        with pytest.raises(InvalidURL) as caught:
            parse_url(url)

        assert hint in caught.value.hint

    @pytest.mark.parametrize(
        ("url", "extra"),
        [
            ("postgresql://localhost/app", "postgres"),
            ("postgresql+psycopg://localhost/app", "psycopg"),
            ("mariadb://localhost/app", "mariadb"),
        ],
    )
    def test_a_missing_driver(self, monkeypatch: pytest.MonkeyPatch, url: str, extra: str) -> None:
        """The error says what to install."""
        monkeypatch.setattr(backend, "find_spec", lambda name: None)

        with pytest.raises(DriverMissing) as caught:
            parse_url(url)

        assert caught.value.extra == extra
        assert f"pip install 'sqlkeel[{extra}]'" in str(caught.value)

    def test_drivers_are_really_looked_for(self) -> None:
        """The look-up is Python's own."""
        find: Any = vars(backend)["find_spec"]

        assert find is importlib.util.find_spec


class TestBackendFor:
    @pytest.mark.parametrize("name", ["sqlite", "postgresql", "mariadb"])
    def test_each_database_has_its_file(self, name: str) -> None:
        """The backend has the name of the dialect."""
        assert backend_for(parse_url(f"{name}://")).name == name


class TestLimits:
    @pytest.mark.parametrize("name", ["statement", "lock", "idle"])
    @pytest.mark.parametrize("seconds", [-1, -0.001, float("nan"), float("inf")])
    def test_what_is_no_time_is_refused(self, name: str, seconds: float) -> None:
        """A negative limit would be none on one database, and an error of the server on another."""
        with pytest.raises(InvalidValue, match=f"is not a number of seconds for the {name} limit") as caught:
            Limits(**{name: seconds})

        assert "0 for no limit" in caught.value.hint

    @pytest.mark.parametrize("seconds", ["30", timedelta(seconds=30)])
    def test_what_is_no_number_is_refused(self, seconds: Any) -> None:
        """A setting that was read from the environment is a text."""
        with pytest.raises(InvalidValue, match="is not a number of seconds for the statement limit"):
            Limits(statement=seconds)

    @pytest.mark.parametrize("seconds", [None, 0, 0.001, 10**9])
    def test_what_is_a_time_is_taken(self, seconds: float | None) -> None:
        """Zero is no limit, and nothing is the server's own."""
        assert Limits(seconds, seconds, seconds).lock == seconds

    def test_what_is_not_said_stays(self) -> None:
        """A transaction changes only the limits that it names; zero is one."""
        usual = Limits(statement=30, lock=5, idle=60)

        changed = usual.changed_by(Limits(statement=0, lock=None))

        assert changed == Limits(statement=0, lock=5, idle=60)

    def test_nothing_changes_nothing(self) -> None:
        """A transaction without limits of its own has the usual ones."""
        assert Limits(lock=5).changed_by(None) == Limits(lock=5)
