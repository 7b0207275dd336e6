"""The table of APScheduler's job store."""

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from sqlalchemy import MetaData, create_mock_engine

metadata = MetaData()
SQLAlchemyJobStore(engine=create_mock_engine("sqlite://", lambda *_: None), metadata=metadata)
