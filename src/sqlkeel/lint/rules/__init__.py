"""One rule a file: the docstring says why and what instead, ``BAD`` and ``GOOD`` are its tests."""

__all__: list[str] = []
