"""``sqlkeel explain``: what an error means, from the installed package."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

__all__ = ["explain"]


def explain(
    code: Annotated[str, typer.Argument(help="The code at the end of an error, or the error's class.")],
) -> None:
    """Explain what an error means and what to do about it.

    Example:  sqlkeel explain unique-violation
    """
    from difflib import get_close_matches

    from .. import errors
    from .console import print_line

    kinds = [getattr(errors, name) for name in errors.__all__]
    found = next((one for one in kinds if code.rpartition("#")[2] in (one.code, one.__name__)), None)
    if found is None:
        codes = sorted(str(one.code) for one in kinds)
        close = get_close_matches(code, codes, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"One of {', '.join(codes)}."
        raise errors.UsageError(f"No error has the code {code!r}.", hint=hint)
    print_line(found.__name__, style="bold")
    print_line(inspect.cleandoc(found.__doc__ or ""))
    if found.hint:
        print_line(f"hint: {found.hint}", style="yellow")
