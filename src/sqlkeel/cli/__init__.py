"""The command ``sqlkeel``."""

from .app import app, main

__all__ = ["app", "main"]
