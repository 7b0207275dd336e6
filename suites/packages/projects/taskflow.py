"""The tables of taskflow."""

from sqlalchemy import MetaData
from taskflow.persistence.backends.sqlalchemy.tables import fetch

metadata = MetaData()
fetch(metadata)
