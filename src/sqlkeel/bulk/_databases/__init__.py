"""How many rows are written on each database; one file each."""

__all__: list[str] = []
