"""The version that is installed; read when it is asked for."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("sqlkeel")
