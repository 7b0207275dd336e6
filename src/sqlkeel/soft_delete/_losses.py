"""Refuse a plain ``relationship()`` that would permanently remove rows that should be marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Connection, event, orm
from sqlalchemy.orm import Mapper, RelationshipProperty
from sqlalchemy.orm.interfaces import ONETOMANY

from ..errors import CascadeMismatch
from ..models._relations import is_soft, states_on_delete
from ..sessions._sync_session import SyncSession
from ._marks import rows_of

__all__ = ["refuse_orphan"]

_KNOWN: Final = "sqlkeel.orphans"
"""The key in a metadata's ``info`` for the results of `_relations_to`, which must not outlive the classes."""

_LOOKED_AT: Final = "sqlkeel.losses"
"""The key in a session's ``info`` for the mappers of objects that were deleted before later listeners ran."""


@event.listens_for(SyncSession, "before_flush")
def _refuse_loss(session: SyncSession, *_: Any) -> None:
    """Refuse to remove objects whose soft-deletable children would be lost, unless that was declared."""
    session.info.pop(_LOOKED_AT, None)
    if session.has_deletions:
        session.info[_LOOKED_AT] = mappers = {orm.object_mapper(obj): None for obj in session.deleted}
        _refuse(mappers)


@event.listens_for(SyncSession, "after_flush")
def _refuse_late_loss(session: SyncSession, *_: Any) -> None:
    """Also check the objects that a later flush listener has deleted; an error rolls back the flush."""
    if session.has_deletions:
        known = session.info.pop(_LOOKED_AT, {})
        _refuse(mapper for mapper in map(orm.object_mapper, session.deleted) if mapper not in known)


def _refuse(mappers: Iterable[Mapper[Any]]) -> None:
    for mapper in dict.fromkeys(mappers):
        for relation in _taking_along(mapper):
            soft = next(filter(is_soft, relation.mapper.self_and_descendants), None)
            if soft is not None and not states_on_delete(relation):
                raise _loss(relation, soft, mapper)


def _taking_along(top: Mapper[Any]) -> Iterator[RelationshipProperty[Any]]:
    """Yield the relationships by which removing rows removes others, through the ORM or the database."""
    found = dict.fromkeys(_relations([top]))
    queue = list(found)
    for relation in queue:
        yield relation
        below = [one for one in _relations(rows_of(relation.mapper)) if one not in found]
        found |= dict.fromkeys(below)
        queue += below


def _relations(mappers: Iterable[Mapper[Any]]) -> Iterator[RelationshipProperty[Any]]:
    # Do not follow soft-deletable rows: losing them is what has to be refused.
    hard = [one for one in mappers if not is_soft(one)]
    for relation in dict.fromkeys(relation for one in hard for relation in one.relationships):
        if not relation.viewonly and (relation.cascade.delete or _database_cascades(relation)):
            yield relation


def _database_cascades(relation: RelationshipProperty[Any]) -> bool:
    if relation.direction is not ONETOMANY:
        return False
    keys = (key for _, below in relation.synchronize_pairs for key in below.foreign_keys)
    return any((key.ondelete or "").upper() == "CASCADE" for key in keys)


def _loss(relation: RelationshipProperty[Any], soft: Mapper[Any], above: Mapper[Any]) -> CascadeMismatch:
    child, name = soft.class_.__name__, above.class_.__name__
    return CascadeMismatch(
        f"{relation} would permanently remove the rows of {child}: {name} has no SoftDeleteMixin and is really "
        "deleted.",
        hint=f"Give {name} the SoftDeleteMixin; or use children(), which permanently removes them too if "
        'on_delete="cascade" is written, and keeps the parent with on_delete="restrict".',
    )


def refuse_orphan(mapper: Mapper[Any], connection: Connection, obj: Any) -> None:
    """Refuse a flush that removes a soft-deletable row as an orphan; for ``before_delete`` of its mapper.

    Raises:
        CascadeMismatch: Names the relationship with delete-orphan.
    """
    session = orm.object_session(obj)
    taking, meant = _relations_to(mapper)
    if not isinstance(session, SyncSession) or (meant and taking is None) or obj in session.deleted:
        return
    name = f"{taking} would" if taking is not None else "The flush would"
    raise CascadeMismatch(
        f"{name} permanently remove a row of {mapper.class_.__name__}: orphans bypass soft delete.",
        hint='Write cascade="all" without delete-orphan, and session.delete() for the child itself.',
    )


def _relations_to(mapper: Mapper[Any]) -> tuple[RelationshipProperty[Any] | None, bool]:
    """Return a relationship whose orphans are rows of *mapper*, and whether another one permits their removal."""
    mappers = mapper.registry.mappers
    known = mapper.registry.metadata.info.setdefault(_KNOWN, {})
    if (mapper, len(mappers)) not in known:
        to = [relation for one in mappers for relation in one.relationships if mapper.isa(relation.mapper)]
        meant = any(states_on_delete(one) and one.cascade.delete and not is_soft(one.parent) for one in to)
        known[mapper, len(mappers)] = next((one for one in to if one.cascade.delete_orphan), None), meant
    found: tuple[RelationshipProperty[Any] | None, bool] = known[mapper, len(mappers)]
    return found
