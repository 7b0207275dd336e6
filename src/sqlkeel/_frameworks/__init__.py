"""Undocumented names of web frameworks that we use: one module for each framework, which does not import it.

`tests/frameworks` has a canary test for each name; its message names the feature that breaks.
"""

__all__: list[str] = []
