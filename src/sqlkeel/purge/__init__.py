"""Deleted rows, removed for good once they are old enough: children first, a batch at a time."""

from .run import Purged, count_old, purge, purge_in

__all__ = ["Purged", "count_old", "purge", "purge_in"]
