"""Connecting, beginning, limits and faults: one file for each database."""

__all__: list[str] = []
