"""Relationships whose ORM cascade and ON DELETE are set together, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn
from weakref import WeakSet, ref

from sqlalchemy import ForeignKeyConstraint, Index, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint, event
from sqlalchemy.orm import Mapper, RelationshipDirection, RelationshipProperty, relationship
from sqlalchemy.orm import registry as Registry  # noqa: N812 - a class

from .. import _sqlalchemy as private
from ..errors import CascadeMismatch
from ._relation_names import explained

if TYPE_CHECKING:
    # The public ``Relationship`` is not a ``WriteOnlyMapped``; the class that ``relationship()`` returns is one.
    from .._sqlalchemy import DeclaredRelationship

__all__ = [
    "KeepsRows",
    "OnDelete",
    "association",
    "child",
    "children",
    "configure_relations",
    "is_soft",
    "parent",
    "states_on_delete",
]

OnDelete = Literal["cascade", "restrict", "set null"]

_KEY: Final = "sqlkeel.relation"
_RULES: Final[dict[OnDelete, dict[str, Any]]] = {
    "cascade": {"cascade": "all", "passive_deletes": True},
    "restrict": {"passive_deletes": "all"},
    "set null": {"passive_deletes": True},
}
# NO ACTION refuses like RESTRICT, but at the end of the statement or, for a deferred key, of the transaction.
_ACCEPTED: Final[dict[OnDelete, tuple[str, ...]]] = {
    "cascade": ("CASCADE",),
    "restrict": ("RESTRICT", "NO ACTION"),
    "set null": ("SET NULL",),
}
_SET_BY_US: Final = frozenset({"cascade", "passive_deletes", "secondary", "viewonly"})


class _Relation(NamedTuple):
    kind: Literal["association", "child", "children", "parent"]
    on_delete: OnDelete | None


def children(
    *,
    back_populates: str | None = None,
    on_delete: OnDelete | None = None,
    delete_orphan: bool = False,
    order_by: Any = False,
    **options: Any,
) -> DeclaredRelationship[Any]:
    """Declare the child rows, which reference this row, and what happens to them when this row is deleted.

    The database deletes or changes the children, in one statement for any number of them; the ORM changes only loaded
    objects. When the mappers are configured, the foreign key of the children gets its ON DELETE; if the key has one
    already, the two are compared.

    Args:
        back_populates: The `parent` attribute on the other side.
        on_delete: ``"cascade"``, the default, also deletes the children. ``"set null"`` keeps them without a parent.
            ``"restrict"`` refuses to delete a row that has children. If the children are soft-deletable and this row is
            not, a cascade would remove them for good, so you have to write ``"cascade"`` explicitly.
        delete_orphan: Delete a child that is removed from the collection. Without this option the child loses its
            parent, which a NOT NULL foreign key refuses.
        order_by: As in `sqlalchemy.orm.relationship`.
        options: Other arguments of `sqlalchemy.orm.relationship`, such as ``lazy`` or ``foreign_keys``.

    Raises:
        CascadeMismatch: At the call, for options that contradict each other; when the mappers are configured, for a
            foreign key or a reverse side that disagrees. The hint contains the code to write.
    """
    if "uselist" in options:
        raise CascadeMismatch("children() are several rows.", hint="For one row, child(...): Mapped[Model | None].")
    _refuse_options("children", options, _SET_BY_US)
    _refuse_contradictions("children", on_delete, back_populates, delete_orphan=delete_orphan)
    rule, marked = _rule(on_delete, delete_orphan=delete_orphan), _marked(options, "children", on_delete)
    return _watched(relationship(back_populates=back_populates, order_by=order_by, **marked, **rule))


def child(
    *, back_populates: str | None = None, on_delete: OnDelete | None = None, delete_orphan: bool = False, **options: Any
) -> DeclaredRelationship[Any]:
    """Declare the only child row, ``Mapped[Account | None]``, and what happens to it when this row is deleted.

    The child behaves as a collection of `children` with at most one row. Its foreign key must be unique, because
    nothing else prevents a second child. In a soft-deletable model, write ``unique_live("user_id")``, so that a new
    child can replace a deleted one. ``load=`` loads the child with a join. The annotation ``Mapped[Account]`` claims
    that the child always exists, which no database checks.

    Args:
        back_populates: The `parent` attribute on the other side.
        on_delete: As in `children`.
        delete_orphan: Delete the child when another one, or ``None``, is assigned. A flush inserts before it deletes:
            to replace the child, assign ``None`` and flush first.
        options: Other arguments of `sqlalchemy.orm.relationship`, such as ``lazy`` or ``foreign_keys``.

    Raises:
        CascadeMismatch: As for `children`; and, when the mappers are configured, if the foreign key is not unique.
    """
    _refuse_options("child", options, {*_SET_BY_US, "order_by", "uselist"})
    _refuse_contradictions("child", on_delete, back_populates, delete_orphan=delete_orphan)
    rule, marked = _rule(on_delete, delete_orphan=delete_orphan), _marked(options, "child", on_delete)
    return _watched(relationship(back_populates=back_populates, uselist=False, **marked, **rule))


def _rule(on_delete: OnDelete | None, *, delete_orphan: bool) -> dict[str, Any]:
    rule = _RULES[on_delete or "cascade"]
    return {**rule, "cascade": "all, delete-orphan"} if delete_orphan else rule


def _refuse_contradictions(
    call: str, on_delete: OnDelete | None, back_populates: str | None, *, delete_orphan: bool
) -> None:
    if on_delete is not None:
        _refuse_unknown(on_delete)
    if delete_orphan and on_delete not in {None, "cascade"}:
        raise CascadeMismatch(
            f'{call}(on_delete="{on_delete}", delete_orphan=True) both keeps and deletes children.',
            hint='Drop delete_orphan=True, or use on_delete="cascade".',
        )
    if on_delete == "restrict" and back_populates is None:
        # SQLAlchemy leaves the foreign key alone under passive_deletes="all"; only the other side writes it.
        place = "the collection" if call == "children" else "its place"
        raise CascadeMismatch(
            f'{call}(on_delete="restrict") would not save the removal of a child from {place}.',
            hint=f'Name the other side: {call}(on_delete="restrict", back_populates="...").',
        )


def parent(
    *, back_populates: str | None = None, on_delete: OnDelete | None = None, **options: Any
) -> DeclaredRelationship[Any]:
    """Declare the parent row, which this row references.

    The `children` attribute of the parent decides what happens when the parent is deleted. If the parent has no such
    attribute, pass *on_delete* here or ``ondelete`` to the ``ForeignKey``; a foreign key without ON DELETE is refused.
    In a tree whose rows reference their own table, pass ``remote_side``.

    Raises:
        CascadeMismatch: At the call, for options that contradict each other; when the mappers are configured, for a
            foreign key or a reverse side that disagrees, or if neither side has an ON DELETE.
    """
    _refuse_options("parent", options, _SET_BY_US)
    if on_delete is not None:
        _refuse_unknown(on_delete)
    return _watched(relationship(back_populates=back_populates, **_marked(options, "parent", on_delete)))


def association(secondary: Any, *, back_populates: str | None = None, **options: Any) -> DeclaredRelationship[Any]:
    """Declare a many-to-many relationship through a table that has only the two foreign keys.

    If a row of either side is deleted, the database deletes its rows in this table. If a pair has data, such as a role,
    map a class for the table and use `children` on both sides.

    Args:
        secondary: The table, its name, or a mapped class; its primary key (or a unique constraint) consists of the two
            foreign keys, so that each pair exists once.
        back_populates: The `association` attribute on the other side.
        options: Other arguments of `sqlalchemy.orm.relationship`.

    Raises:
        CascadeMismatch: At the call, for options that contradict each other; when the mappers are configured, for
            foreign keys that disagree or a table that allows a pair twice.
    """
    _refuse_options("association", options, {"cascade", "passive_deletes", "viewonly"})
    table = getattr(secondary, "__table__", secondary)
    marked = _marked(options, "association", "cascade")
    return _watched(relationship(secondary=table, back_populates=back_populates, passive_deletes=True, **marked))


def states_on_delete(relation: RelationshipProperty[Any]) -> bool:
    """Return whether a function of this module declared the relationship, so that its ON DELETE is compared."""
    return _KEY in relation.info


def _marked(options: dict[str, Any], kind: Any, on_delete: OnDelete | None) -> dict[str, Any]:
    return {**options, "info": {**(options.get("info") or {}), _KEY: _Relation(kind, on_delete)}}


def _refuse_options(call: str, options: dict[str, Any], refused: AbstractSet[str]) -> None:
    wrong = sorted(refused & options.keys())
    if wrong:
        raise CascadeMismatch(
            f"{call}() sets {', '.join(wrong)} itself.",
            hint="Use on_delete= and delete_orphan= instead, or sqlalchemy.orm.relationship().",
        )


def _refuse_unknown(on_delete: object) -> None:
    if on_delete not in _RULES:
        raise CascadeMismatch(
            f"on_delete={on_delete!r} is not a rule.", hint=f"Write one of {', '.join(map(repr, _RULES))}."
        )


def _watched(relation: DeclaredRelationship[Any]) -> DeclaredRelationship[Any]:
    """Configure the relationship together with its mapper; the listeners are on this mapper and its tables only."""
    attach, set_up = relation.set_parent, relation.do_init

    def do_init() -> None:
        with explained(relation):
            set_up()

    def set_parent(parent: Mapper[Any], init: bool) -> None:
        attach(parent, init)
        event.listen(parent, "mapper_configured", lambda *_: _configure(relation))
        _configure_before_create(parent)

    relation.set_parent = set_parent  # type: ignore[method-assign]
    relation.do_init = do_init  # type: ignore[method-assign]
    return relation


def configure_relations(metadata: MetaData) -> None:
    """Configure the models of *metadata*, so that their relationships set their ON DELETE; leave other models alone."""
    for registry in [*metadata.info.get(_KEY, ())]:
        registry.configure(cascade=True)


def _configure_before_create(mapper: Mapper[Any]) -> None:
    """Set each ON DELETE before ``create_all()`` creates the tables, on any base class."""
    registries = mapper.registry.metadata.info.setdefault(_KEY, WeakSet())
    if mapper.registry not in registries:
        registries.add(mapper.registry)
        registry = ref(mapper.registry)
        event.listen(mapper.registry.metadata, "before_create", lambda *_, **__: _configure_all(registry()))


def _configure_all(registry: Registry | None) -> None:
    if registry is not None:
        registry.configure(cascade=True)


def _configure(prop: RelationshipProperty[Any]) -> None:
    try:
        relation = prop.info[_KEY]
        _CONFIGURE[relation.kind](prop, relation.on_delete)
    except CascadeMismatch as error:
        # Each later use of the mapper must fail as well, so we mark the mapper as not configured.
        private.configure_again(prop.parent)
        private.fails_as_it_is(error)
        raise


def _configure_children(relation: RelationshipProperty[Any], stated: OnDelete | None) -> None:
    on_delete: OnDelete = stated or "cascade"
    is_one, name = relation.info[_KEY].kind == "child", relation.mapper.class_.__name__
    if relation.direction is not RelationshipDirection.ONETOMANY:
        problem = "holds the foreign key itself." if is_one else "points to one row, not to children."
        _refuse(relation, problem, "Use parent() on the side of the foreign key.")
    if is_one and (relation.collection_class is not None or relation.uselist):
        _refuse(relation, "is one row, and is annotated as several.", f"Mapped[{name} | None], or children(...).")
    if not is_one and not relation.uselist:
        _refuse(relation, "is annotated as one row.", f"{relation} = child(...), or Mapped[list[{name}]].")
    for key in _foreign_keys(relation, relation.synchronize_pairs):
        _set_on_delete(relation, key, on_delete)
        if is_one:
            _refuse_not_unique(relation, key)
    target = relation.mapper
    if relation.cascade.delete_orphan and any(map(is_soft, target.self_and_descendants)):
        _refuse(
            relation,
            f"would remove the rows of {target.class_.__name__} for good: orphans never reach the soft delete.",
            "Drop delete_orphan=True, and delete the child itself.",
        )
    if stated is None:
        _refuse_loss(relation, relation.parent, target)
    if on_delete == "cascade":
        _cascade_to_subclasses(relation)
    reverse = _reverse(relation)
    if reverse is not None and reverse.cascade.delete:
        _refuse(relation, f"goes back by {reverse}, which deletes the parent with a child.", f"{reverse} = parent(...)")


def _configure_parent(relation: RelationshipProperty[Any], on_delete: OnDelete | None) -> None:
    if relation.direction is not RelationshipDirection.MANYTOONE:
        hint = "In a tree of one table add remote_side=[Model.id]; else use children()."
        _refuse(relation, "points to many rows, not to a parent.", hint)
    reverse = _reverse(relation)
    theirs = reverse.info.get(_KEY) if reverse is not None else None
    if theirs is not None:
        said = theirs.on_delete or "cascade"
        if on_delete not in {None, said}:
            hint = f'{reverse} = {theirs.kind}(on_delete="{on_delete}", ...), or no on_delete= here.'
            _refuse(relation, f'says "{on_delete}" and {reverse} says "{said}".', hint)
        return
    for key in _foreign_keys(relation, relation.synchronize_pairs):
        if on_delete is not None:
            _set_on_delete(relation, key, on_delete)
        elif key.ondelete is None or _KEY in key.info:
            hint = f'{relation} = parent(on_delete="restrict"), or ForeignKey(..., ondelete="RESTRICT").'
            _refuse(relation, f"says nothing about ON DELETE, and neither does {_describe(key)}.", hint)
        if on_delete is None and (key.ondelete or "").upper() == "CASCADE":
            _refuse_loss(relation, relation.mapper, relation.parent)
        if reverse is not None:
            _check_reverse(relation, reverse, key)


def _refuse_loss(relation: RelationshipProperty[Any], above: Mapper[Any], below: Mapper[Any]) -> None:
    """Refuse a cascade from a model without soft delete to one with it: the database would delete the rows for good."""
    soft = next((one for one in below.self_and_descendants if is_soft(one)), None)
    if soft is not None and not is_soft(above):
        parent_name, child = above.class_.__name__, soft.class_.__name__
        problem = (
            f"would remove the rows of {child} for good: {parent_name} has no SoftDeleteMixin, so it is really deleted."
        )
        hint = (
            f"Give {parent_name} the SoftDeleteMixin. Or write "
            f'on_delete="restrict" to keep a {parent_name} that has such rows, or on_delete="cascade" to remove them.'
        )
        _refuse(relation, problem, hint)


class KeepsRows:
    """The base class of `SoftDeleteMixin`: a deletion marks the rows of its models and does not remove them."""


def is_soft(mapper: Mapper[Any]) -> bool:
    """Return whether objects of the mapper are marked instead of removed."""
    return issubclass(mapper.class_, KeepsRows)


def _configure_association(relation: RelationshipProperty[Any], on_delete: OnDelete) -> None:
    if relation.direction is not RelationshipDirection.MANYTOMANY:
        _refuse(relation, "is not a many-to-many relationship.", "Pass the association table: association(user_role).")
    between = [one for one in relation.parent.registry.mappers if one.local_table is relation.secondary]
    for mapper in filter(is_soft, between):
        name = mapper.class_.__name__
        problem = f"would remove the rows of {name} for good, and also load its soft-deleted rows."
        _refuse(relation, problem, f"Use children() on both sides, to {name}.")
    keys = [
        *_foreign_keys(relation, relation.synchronize_pairs),
        *_foreign_keys(relation, relation.secondary_synchronize_pairs or ()),
    ]
    for key in keys:
        _set_on_delete(relation, key, on_delete)
    columns = [column.name for key in keys for column in key.columns]
    table = keys[0].table
    if not any(unique <= set(columns) for unique in _unique_sets(table)):
        listing = ", ".join(map(repr, columns))
        _refuse(
            relation, f"goes through {table.name}, where a pair can stand twice.", f"PrimaryKeyConstraint({listing})"
        )


_CONFIGURE: Final[dict[str, Any]] = {
    "association": _configure_association,
    "child": _configure_children,
    "children": _configure_children,
    "parent": _configure_parent,
}


def _set_on_delete(relation: RelationshipProperty[Any], key: ForeignKeyConstraint, on_delete: OnDelete) -> None:
    accepted = _ACCEPTED[on_delete]
    if key.ondelete is not None and key.ondelete.upper() not in accepted:
        source = f" (set by {key.info[_KEY]})" if _KEY in key.info else ""
        problem = f'says "{on_delete}", but {_describe(key)} is ON DELETE {key.ondelete}{source}.'
        _refuse(relation, problem, f'ForeignKey(..., ondelete="{accepted[0]}"), or on_delete= as the key has it.')
    required = [column.name for column in key.columns if not column.nullable]
    if on_delete == "set null" and required:
        hint = f'{required[0]}: Mapped[int | None], or on_delete="cascade" or "restrict".'
        _refuse(relation, f'says "set null", but {key.table.name}.{required[0]} is NOT NULL.', hint)
    if key.ondelete is None:
        key.info[_KEY] = str(relation)
        _write_on_delete(key, accepted[0])


def _write_on_delete(key: ForeignKeyConstraint, text: str) -> None:
    # Set on both: CREATE TABLE and comparisons use the constraint, copies of the table use its elements.
    key.ondelete = text
    for element in key.elements:
        element.ondelete = text


def _cascade_to_subclasses(relation: RelationshipProperty[Any]) -> None:
    """Add ON DELETE CASCADE to the keys of subclass tables (joined inheritance), and refuse a partial deletion.

    Without it, the database would delete only the row of one table of an object.
    """
    base = relation.mapper
    while base.inherits is not None and not base.concrete:
        base = base.inherits
    if base.local_table not in {referring.table for _, referring in relation.synchronize_pairs}:
        problem = f"would delete a part of {relation.mapper.class_.__name__} and leave its row in {base.local_table}."
        _refuse(relation, problem, f'Put the foreign key on {base.local_table}, or use on_delete="restrict".')
    for mapper in base.self_and_descendants:
        for key in _keys_of(mapper.local_table):
            inherits = mapper.inherits is not None and key.referred_table is mapper.inherits.local_table
            if inherits and key.referred_table is not key.table and key.ondelete is None:
                _write_on_delete(key, "CASCADE")


def _check_reverse(
    relation: RelationshipProperty[Any], reverse: RelationshipProperty[Any], key: ForeignKeyConstraint
) -> None:
    """Compare a plain ``relationship()`` on the other side with the foreign key."""
    stated = (key.ondelete or "").upper()
    rule: OnDelete | None = next((rule for rule, accepted in _ACCEPTED.items() if stated in accepted), None)
    if rule is None or reverse.viewonly:
        return
    wanted = _RULES[rule]
    if reverse.cascade.delete != ("cascade" in wanted) or reverse.passive_deletes != wanted["passive_deletes"]:
        word = "children" if reverse.uselist else "child"
        hint = f'{reverse} = {word}(on_delete="{rule}", back_populates="{relation.key}").'
        _refuse(relation, f"has ON DELETE {key.ondelete}, and {reverse} does something else.", hint)


def _reverse(relation: RelationshipProperty[Any]) -> RelationshipProperty[Any] | None:
    name: Any = relation.back_populates
    if not name:
        return None
    found = relation.mapper.get_property(getattr(name, "key", name))
    return found if isinstance(found, RelationshipProperty) else None


def _foreign_keys(relation: RelationshipProperty[Any], pairs: Iterable[Any]) -> list[ForeignKeyConstraint]:
    joined = set(pairs)
    tables = {referring.table for _, referring in joined}
    found = [key for table in tables for key in _keys_of(table) if _pairs_of(key) <= joined]
    if not found:
        _refuse(
            relation,
            "follows no foreign key of the database, which therefore cannot act on a delete.",
            "Give the column a ForeignKey, or use sqlalchemy.orm.relationship().",
        )
    return found


def _keys_of(table: Any) -> Iterable[ForeignKeyConstraint]:
    return table.foreign_key_constraints if isinstance(table, Table) else ()


def _pairs_of(key: ForeignKeyConstraint) -> set[tuple[Any, Any]]:
    return {(element.column, element.parent) for element in key.elements}


def _unique_sets(table: Table) -> Iterator[set[str]]:
    for constraint in table.constraints:
        if isinstance(constraint, (PrimaryKeyConstraint, UniqueConstraint)) and len(constraint.columns):
            yield {column.name for column in constraint.columns}
    for index in table.indexes:
        if isinstance(index, Index) and index.unique and not index.dialect_kwargs:
            yield {column.name for column in index.columns}


def _refuse_not_unique(relation: RelationshipProperty[Any], key: ForeignKeyConstraint) -> None:
    """Refuse a foreign key without a unique constraint, because a second row could reference the same parent."""
    columns = {column.name for column in key.columns}
    if any(unique <= columns for unique in (*_unique_sets(key.table), *_live_sets(key.table))):
        return
    listing, one = ", ".join(f'"{name}"' for name in key.column_keys), relation.mapper.class_.__name__
    unique = f"UniqueConstraint({listing})" if len(columns) > 1 else "unique=True on the column"
    hint = f"unique_live({listing})" if is_soft(relation.mapper) else unique
    _refuse(
        relation,
        f"is one row, and {_describe(key)} lets several point to it.",
        f"{hint}, in {one}; or children(...) of Mapped[list[{one}]].",
    )


def _live_sets(table: Table) -> Iterator[set[str]]:
    """Yield the sets of columns that `unique_live` makes unique among live rows."""
    for index in table.indexes:
        if index.unique and index.dialect_kwargs.get("mariadb_live") and len(index.columns) == len(index.expressions):
            yield {column.name for column in index.columns}


def _describe(key: ForeignKeyConstraint) -> str:
    return f"the foreign key {key.table.name}({', '.join(key.column_keys)})"


def _refuse(relation: RelationshipProperty[Any], problem: str, hint: str) -> NoReturn:
    raise CascadeMismatch(f"{relation} {problem}", hint=hint)
