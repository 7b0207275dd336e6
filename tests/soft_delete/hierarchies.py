"""Hierarchies of models in every form: how they are stored, which class carries the mark, and under what names.

Each family is ``Party`` above ``Item`` with ``Lease``, ``Sublease`` (a Lease) and ``Note``; ``Party`` has the mixin.
"""

from __future__ import annotations

import itertools
import uuid
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ForeignKey, Integer, String, Uuid
from sqlalchemy.ext.declarative import AbstractConcreteBase, ConcreteBase
from sqlalchemy.orm import Mapped, configure_mappers, mapped_column, relationship

import sqlkeel
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.types import UTCDateTime

__all__ = ["FAMILIES", "Base", "Family", "Plain"]

KINDS: Final = ("Item", "Lease", "Sublease", "Note")


class Base(sqlkeel.Base):
    pass


class Plain(sqlkeel.Base):
    """A second registry, without a model that can be soft-deleted."""


class Renamed(SoftDeleteMixin):
    """The columns of the mixin, under other names in the database."""

    deleted_at: Mapped[datetime | None] = mapped_column(
        "removed_on", UTCDateTime(), default=None, use_existing_column=True
    )
    deletion_id: Mapped[uuid.UUID | None] = mapped_column("batch", Uuid(), default=None, use_existing_column=True)


class Family:
    """One hierarchy: its classes, and which of them are marked instead of removed."""

    def __init__(self, shape: str, marked: str, pointing: str, *, renamed: bool) -> None:
        self.shape = shape
        self.pointing = pointing
        self.name = "_".join([shape, marked, pointing, "renamed" if renamed else "plain"])
        self.renamed = renamed
        self.soft = {
            "base": KINDS,
            "middle": ("Lease", "Sublease"),
            "leaf": ("Sublease",),
            "sides": ("Lease", "Sublease", "Note"),
        }[marked]
        self.roots = {"base": ["Item"], "middle": ["Lease"], "leaf": ["Sublease"], "sides": ["Lease", "Note"]}[marked]
        self.holders = ("Lease", "Sublease") if pointing == "lease" else KINDS
        self.party = self._party()
        self.models: dict[str, Any] = {"Party": self.party}
        for kind in KINDS:
            self.models[kind] = getattr(self, f"_{shape}")(kind)
        if shape in {"concrete", "abstract"}:
            configure_mappers()
        self._relate()

    def __repr__(self) -> str:
        return self.name

    @property
    def created(self) -> list[str]:
        """The classes that have rows of their own."""
        return [kind for kind in KINDS if kind != "Item" or self.shape != "abstract"]

    def is_a(self, kind: str, other: str) -> bool:
        """Tell whether a row of one class is one of the other."""
        return issubclass(self.models[kind], self.models[other])

    def table(self, kind: str) -> str:
        """Name the table of a class."""
        return f"{self.name}_{kind.lower()}"

    def _class(self, kind: str, bases: tuple[Any, ...], values: dict[str, Any]) -> Any:
        return type(f"{kind}_{self.name}", bases, {"__module__": __name__, **values})

    def _party(self) -> Any:
        values = {"__tablename__": f"{self.name}_party", "id": mapped_column(Integer(), primary_key=True)}
        return self._class("Party", (SoftDeleteMixin, Base), {**values, "__annotations__": {"id": Mapped[int]}})

    def _mixins(self, kind: str) -> tuple[Any, ...]:
        return (Renamed if self.renamed else SoftDeleteMixin,) if kind in self.roots else ()

    def _columns(self, kind: str) -> dict[str, Any]:
        """The columns that the class adds: a key and a name, a value of its own, the way to its party."""
        found: dict[str, Any] = {f"own_{kind.lower()}": mapped_column(Integer(), default=0)}
        if kind == "Item":
            found |= {"id": mapped_column(Integer(), primary_key=True, autoincrement=False)}
            found |= {"name": mapped_column(String(20), default="")}
        if kind == ("Lease" if self.pointing == "lease" else "Item"):
            found["party_id"] = mapped_column(ForeignKey(f"{self.name}_party.id", ondelete="CASCADE"), nullable=True)
        return found

    def _single(self, kind: str) -> Any:
        return self._in_tables(kind, joined=False)

    def _joined(self, kind: str) -> Any:
        return self._in_tables(kind, joined=True)

    def _in_tables(self, kind: str, *, joined: bool) -> Any:
        above = {"Item": Base, "Lease": "Item", "Sublease": "Lease", "Note": "Item"}[kind]
        values: dict[str, Any] = {"__mapper_args__": {"polymorphic_identity": kind}, **self._columns(kind)}
        if kind == "Item":
            values |= {"__tablename__": self.table(kind), "kind": mapped_column(String(20))}
            values["__mapper_args__"]["polymorphic_on"] = "kind"
        elif joined:
            key = ForeignKey(f"{self.table(str(above))}.{'id' if above == 'Item' else 'key_no'}", ondelete="CASCADE")
            values |= {"__tablename__": self.table(kind), "id": mapped_column("key_no", key, primary_key=True)}
        else:
            values[f"own_{kind.lower()}"] = mapped_column(Integer(), default=0, nullable=True)
        return self._class(kind, (*self._mixins(kind), self.models[above] if above is not Base else Base), values)

    def _concrete(self, kind: str) -> Any:
        return self._in_own_table(kind, ConcreteBase)

    def _abstract(self, kind: str) -> Any:
        return self._in_own_table(kind, AbstractConcreteBase)

    def _in_own_table(self, kind: str, base: Any) -> Any:
        above = {"Item": (), "Lease": ("Item",), "Sublease": ("Lease", "Item"), "Note": ("Item",)}[kind]
        columns: dict[str, Any] = {}
        for one in (*reversed(above), kind):
            columns |= self._columns(one)
        marks: dict[str, Any] = {}
        if kind in self.soft and kind not in self.roots:
            renamed = ("removed_on", "batch") if self.renamed else ("deleted_at", "deletion_id")
            marks = {
                "deleted_at": mapped_column(renamed[0], UTCDateTime(), default=None),
                "deletion_id": mapped_column(renamed[1], Uuid(), default=None),
            }
        args = {"polymorphic_identity": kind, "concrete": True}
        if kind == "Item" and base is AbstractConcreteBase:
            return self._class(kind, (*self._mixins(kind), base, Base), {"strict_attrs": True})
        values = {"__tablename__": self.table(kind), "__mapper_args__": args, **columns, **marks}
        bases = (base, Base) if kind == "Item" else (self.models[above[0]],)
        return self._class(kind, (*self._mixins(kind), *bases), values)

    def _relate(self) -> None:
        if self.shape in {"concrete", "abstract"}:
            for kind in self.created:
                if kind in self.holders:
                    self.party.__mapper__.add_property(
                        f"rows_{kind.lower()}",
                        relationship(self.models[kind], cascade="all", passive_deletes=True, overlaps="*"),
                    )
        else:
            target = self.models["Lease" if self.pointing == "lease" else "Item"]
            self.party.__mapper__.add_property("rows", relationship(target, cascade="all", passive_deletes=True))


_SHAPES = ("single", "joined", "concrete", "abstract")
_MARKED = ("base", "middle", "leaf", "sides")
FAMILIES: Final = [
    Family(shape, marked, pointing, renamed=bool(number % 2))
    for number, (shape, marked, pointing) in enumerate(itertools.product(_SHAPES, _MARKED, ("item", "lease")))
]
