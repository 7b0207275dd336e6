"""What we use of web frameworks that they do not promise: a module for each, which imports nothing of it.

`tests/frameworks` has a canary for each name, which says what breaks.
"""

__all__: list[str] = []
