"""The test suites of SQLAlchemy, SQLModel and a library on top of them, run with the session of sqlkeel."""
