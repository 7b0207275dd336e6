"""The installed version, read on first use."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("sqlkeel")
