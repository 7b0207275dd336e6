"""What is done with a model: rows that are there, objects that a session holds, and one to three verbs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.properties.differential.models import Made

__all__ = ["Case", "Step"]


@dataclass(frozen=True)
class Step:
    """One verb and what it is given."""

    verb: str
    rows: tuple[dict[str, Any], ...] = ()
    on: tuple[str, ...] = ()
    update: tuple[str, ...] | None = None
    row: int = 0
    """The planted row that is meant."""

    order: tuple[str, bool] | None = None
    size: int = 2
    wrong: str | None = None
    """What was made wrong in one of the rows."""

    def __str__(self) -> str:
        said = [f"{name}={value!r}" for name, value in vars(self).items() if (value or value == ()) and name != "verb"]
        return f"{self.verb}({', '.join(said)})"


@dataclass(frozen=True)
class Case:
    """Everything that an example consists of."""

    made: Made
    rows: tuple[dict[str, Any], ...]
    classes: tuple[int, ...]
    """Of which class of the hierarchy each row is; 0 is the model."""

    deleted: frozenset[int]
    held: tuple[int, ...]
    changes: tuple[tuple[int, str, Any], ...]
    """Attributes of held objects that are changed and not flushed."""

    steps: tuple[Step, ...]

    def class_of(self, row: int) -> type[Any]:
        """Return the class of a planted row."""
        return (self.made.model, *self.made.siblings)[self.classes[row]]

    def key_of(self, row: int) -> tuple[Any, ...]:
        """Return the primary key of a planted row."""
        return tuple(self.rows[row][name] for name in self.made.key)

    def __str__(self) -> str:
        lines = [f"model {self.made.name}: {', '.join(sorted(self.made.labels))}"]
        for number, row in enumerate(self.rows):
            marks = [f"class {self.class_of(number).__name__}"] if self.classes[number] else []
            marks += ["deleted"] if number in self.deleted else []
            marks += ["held"] if number in self.held else []
            lines.append(f"  row {number} {' '.join(marks)}: {row}")
        lines += [f"  change of row {row}: {name} = {value!r}" for row, name, value in self.changes]
        return "\n".join([*lines, *(f"  {step}" for step in self.steps)])
