"""A package index of your own machine: the service to copy from, and the tour that proves it."""

__all__: list[str] = []
