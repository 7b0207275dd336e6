"""Faults that need no particular server: of the network, of the pool, and of the callers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from random import Random

from sqlkeel import Database
from tests.faults.proxy import Proxy
from tests.faults.tellers import EXPECTED, Teller
from tests.faults.weather import Fault

__all__ = ["Network", "People"]


class Network:
    """What happens between the clients and the server."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy

    def faults(self) -> Mapping[str, Fault]:
        """Return the faults by name."""
        return {
            "connections reset": self.reset,
            "network stalls": self.stall,
            "network slow": self.slow,
            "network drops data": self.drop,
            "connections refused": self.refuse,
            "COMMIT lost": self.lose_commit,
            "answer to COMMIT lost": self.lose_answer,
        }

    async def reset(self, random: Random) -> None:
        """Reset all connections."""
        self.proxy.cut_all()

    async def stall(self, random: Random) -> None:
        """Let nothing through for a while; nothing is lost."""
        self.proxy.stall()
        await self._later(random)

    async def slow(self, random: Random) -> None:
        """Delay everything for a while."""
        self.proxy.latency = random.uniform(0.005, 0.03)
        await self._later(random)

    async def drop(self, random: Random) -> None:
        """Swallow what is sent for a while, then reset the connections that it was sent on."""
        self.proxy.drop()
        await self._later(random)

    async def refuse(self, random: Random) -> None:
        """Reset all connections, and refuse new ones for a while."""
        self.proxy.refuses = True
        self.proxy.cut_all()
        await self._later(random)

    async def lose_commit(self, random: Random) -> None:
        """Cut the next connection that sends COMMIT, before the server has seen it."""
        self.proxy.cut_at(is_commit, deliver=False)

    async def lose_answer(self, random: Random) -> None:
        """Cut the next connection that sends COMMIT, when the server has acted on it."""
        self.proxy.cut_at(is_commit, deliver=True)

    async def _later(self, random: Random) -> None:
        await asyncio.sleep(random.uniform(0.1, 0.6))
        self.proxy.resume()


class People:
    """What the callers do to themselves and to each other."""

    def __init__(self, database: Database, tellers: Sequence[Teller], connections: int) -> None:
        self.database = database
        self.tellers = tellers
        self.connections = connections

    def faults(self) -> Mapping[str, Fault]:
        """Return the faults that need no network."""
        return {"all callers cancelled": self.cancel_all, "pool exhausted": self.exhaust_pool}

    def faults_at_commit(self, proxy: Proxy) -> Mapping[str, Fault]:
        """Return those that have to see what is sent."""

        async def cancel_at_commit(random: Random) -> None:
            proxy.call_at(is_commit, self._interrupt_all)

        return {"callers cancelled at COMMIT": cancel_at_commit}

    async def cancel_all(self, random: Random) -> None:
        """Interrupt every transfer that is being made."""
        self._interrupt_all()

    async def exhaust_pool(self, random: Random) -> None:
        """Take every connection there is, and keep them for longer than the others wait."""
        async with AsyncExitStack() as taken:
            for _ in range(self.connections):
                with suppress(*EXPECTED):
                    await taken.enter_async_context(self.database.engine.connect())
            await asyncio.sleep(random.uniform(0.4, 0.8))

    def _interrupt_all(self) -> None:
        for teller in self.tellers:
            teller.interrupt()


def is_commit(data: bytes) -> bool:
    """Tell whether a client's message is a COMMIT, on any of the protocols."""
    return b"COMMIT" in data
