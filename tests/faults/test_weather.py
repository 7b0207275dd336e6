"""The schedule: the same seed, the same weather."""

from __future__ import annotations

from itertools import islice

from tests.faults.weather import plan

FAULTS = ["crash", "stall", "reset", "drop"]


class TestPlan:
    def test_a_seed_repeats_it(self) -> None:
        """The same seed plans the same faults, pauses and random choices."""
        assert list(islice(plan(FAULTS, 7), 20)) == list(islice(plan(FAULTS, 7), 20))

    def test_another_seed_is_other_weather(self) -> None:
        """Another seed plans another order."""
        assert list(islice(plan(FAULTS, 7), 20)) != list(islice(plan(FAULTS, 8), 20))

    def test_every_fault_comes_in_every_round(self) -> None:
        """A short run meets each fault as often as a long one does, in proportion."""
        first, second = (
            sorted(p.fault for p in part) for part in (islice(plan(FAULTS, 7), 4), islice(plan(FAULTS, 7), 4, 8))
        )

        assert first == second == sorted(FAULTS)
