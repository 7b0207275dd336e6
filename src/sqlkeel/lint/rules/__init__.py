"""One rule per file: the docstring gives the reason and the fix, and ``BAD`` and ``GOOD`` are its tests."""

__all__: list[str] = []
