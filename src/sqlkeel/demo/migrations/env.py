"""Run the migrations of this project; settings are in pyproject.toml under [tool.sqlkeel]."""

from sqlkeel.migrations.env import run

run()
