"""One file for each database: connecting, beginning, limits and faults."""

__all__: list[str] = []
