"""Tests of time-suffix: names of moments and days."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Date, DateTime, Integer, Numeric, String
from sqlalchemy.dialects.postgresql import INTERVAL, JSONB
from sqlalchemy.types import TypeDecorator

import sqlkeel
from tests.lint.examples import found


class Seconds(TypeDecorator[datetime]):
    """A moment that is stored as a number."""

    impl = Integer
    cache_ok = True


class TestTimeSuffix:
    @pytest.mark.parametrize(
        "column",
        [
            Column("sent_at", DateTime(timezone=True)),
            Column("sent_at", sqlkeel.UTCDateTime()),
            Column("birth_date", Date),
            Column("update", Boolean),
            Column("up_to_date", Boolean),
            Column("out_of_date", Boolean),
            Column("at", DateTime(timezone=True)),
            Column("date", Date),
            Column("format", String),
            Column("data", JSONB),
            Column("validity", INTERVAL),
            Column("snoozed_until", DateTime(timezone=True)),
            Column("resolve_by", DateTime(timezone=True)),
            Column("timestamp", DateTime(timezone=True)),
            Column("last_mfa_time", DateTime(timezone=True)),
            Column("date_added", Date),
            Column("date_updated", DateTime(timezone=True)),
            Column("period_end", DateTime(timezone=True)),
            Column("due_on", Date),
            Column("datetime_start", DateTime(timezone=True)),
            Column("issued_before", DateTime(timezone=True)),
            Column("expires_at", Integer),
            Column("expires_at", Numeric(20, 6)),
            Column("expires_at", Seconds()),
        ],
    )
    def test_accepted(self, column: Any) -> None:
        """The suffix and the type agree, or there is neither."""
        assert not found("time-suffix", column)

    @pytest.mark.parametrize(
        ("column", "fix"),
        [
            (Column("sent", DateTime(timezone=True)), 'Call it "sent_at".'),
            (Column("sent_date", DateTime(timezone=True)), 'Call it "sent_at".'),
            (Column("birth", Date), 'Call it "birth_date".'),
            (Column("birth_at", Date), 'Call it "birth_date".'),
            (Column("born_at", Boolean), 'Drop "_at", or give it the type.'),
            (Column("born_at", String), 'Drop "_at", or give it the type.'),
            (Column("born_date", Integer), 'Drop "_date", or give it the type.'),
            (Column("born_date", String), 'Drop "_date", or give it the type.'),
        ],
    )
    def test_refused(self, column: Any, fix: str) -> None:
        """One without the other, with the name to use."""
        (finding,) = found("time-suffix", column)

        assert finding.fix == fix

    def test_convention_of_the_project(self) -> None:
        """Four moments without the suffix are a convention, unless as many have it; three are none."""
        names = ["created", "updated", "published", "seen"]
        three, four, eight = names[:3], names, [*names, *(f"{name}_at" for name in names)]

        counts = [
            len(found("time-suffix", *(Column(name, DateTime) for name in each))) for each in (three, four, eight)
        ]

        assert counts == [3, 0, 4]

    @pytest.mark.parametrize("column", [Column("date", DateTime(timezone=True)), Column("at", Date)])
    def test_no_word_is_left(self, column: Any) -> None:
        """A name that is the other suffix and nothing else has to be thought of by somebody."""
        (finding,) = found("time-suffix", column)

        assert finding.rename is None
        assert finding.fix.startswith("Give it a name that ends in ")
