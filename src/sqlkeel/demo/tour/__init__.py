"""The tour: each pattern done for real, and checked in the database by a second connection."""

__all__: list[str] = []
