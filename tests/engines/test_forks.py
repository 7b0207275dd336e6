"""Forks: a process that was split in two asks on connections of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from sqlkeel.sessions import Database

PROGRAM = """
import asyncio, json, os, sys
from sqlalchemy import text
from sqlkeel import Database, Session
from sqlkeel.errors import SessionShared

async def ask(who):
    answers = []
    for number in range(30):
        async with db.read() as session:
            answers.append(await session.scalar(text(f"select '{who} {number}'")) == f"{who} {number}")
        async with db.transaction() as session:
            answers.append(await session.scalar(text(f"select '{who} {number}'")) == f"{who} {number}")
    return all(answers)

async def refused(session):
    try:
        await session.scalar(text("select 1"))
    except SessionShared as error:
        return f"process {parent}" in str(error)

async def before():
    session = Session(db.engines[-1])                # holds no lock on SQLite
    await session.scalar(text("select 1"))
    return session

db = Database(sys.argv[1], pool_size=1)
parent = os.getpid()
session = asyncio.run(before())
asyncio.run(ask("before"))
reader, writer = os.pipe()
if os.fork() == 0:
    os.write(writer, json.dumps([asyncio.run(ask("child")), asyncio.run(refused(session))]).encode())
    os._exit(0)
own = asyncio.run(ask("parent"))
os.wait()
print(json.dumps([own, *json.loads(os.read(reader, 1000))]), flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestFork:
    def test_each_process_gets_its_own_answers(self, every_driver: Database) -> None:
        """Parent and child both go on, and a session that was open at the fork is the parent's."""
        url = every_driver.url.render_as_string(hide_password=False)
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, url]

        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

        assert json.loads(answer.stdout or "null") == [True, True, True], answer.stderr[-2000:]
