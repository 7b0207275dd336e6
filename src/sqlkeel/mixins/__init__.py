"""Behaviours a model takes on by inheriting; one file each, the listener beside its columns."""

__all__: list[str] = []
