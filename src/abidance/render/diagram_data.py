# SPDX-License-Identifier: BSD-2-Clause
"""Which diagrams a specification is drawn in: diagrams.yaml beside the specification folder.

The file says what is drawn; the numbers come from the specification. In texts of the file ``{name}`` stands
for what the specification says of that name: the value of a constant, the size of a structure in bytes, the
offset of ``structure.field``, the number of an entry point or the offset of its slot, and for ``Entry.in``,
``Entry.out`` its places. A name that does not exist is a mistake with its line.
"""

from __future__ import annotations

import pathlib
import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from abidance.errors import InputError
from abidance.spec import EntryPoint, Specification
from abidance.spec.problems import Path, Problems, near
from abidance.spec.scope import File
from abidance.spec.shape import WRONG, shape
from abidance.spec.tree import read_tree

__all__ = ["Counter", "Diagram", "Link", "Part", "Region", "Span", "Step", "load_diagrams"]

Text = Annotated[str, Meta(min_length=1)]
_BLANK = re.compile(r"\{([A-Za-z0-9_.]+)\}")


class _Doc(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Link(_Doc, frozen=True, kw_only=True):
    """A field that says where another structure is, or what it leads to."""

    field: Text
    to: Text


class Region(_Doc, frozen=True, kw_only=True):
    """A range of an address space. `start` is the address of its lowest byte."""

    title: Text
    start: Text
    owner: Literal["guest", "hypervisor", "machine"] = "guest"
    note: Text | None = None


class Step(_Doc, frozen=True, kw_only=True):
    """A message, from one party to the other or to itself."""

    source: Text = msgspec.field(name="from")
    target: Text = msgspec.field(name="to")
    text: Text
    note: Text | None = None


class Part(_Doc, frozen=True, kw_only=True):
    """The slots of a frame up to and with one, and when they are there."""

    upto: Text
    when: Text


class Span(_Doc, frozen=True, kw_only=True):
    """A stretch of time in one state."""

    state: Text
    length: Annotated[int, Meta(ge=1, le=20)]


class Counter(_Doc, frozen=True, kw_only=True):
    """A counter and the states in which it advances."""

    title: Text
    advances: tuple[Text, ...]


class Diagram(_Doc, frozen=True, kw_only=True):
    """One diagram: `kind` says which of the other keys it needs."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    kind: Literal["layout", "space", "exchange", "frame", "counters"]
    group: Text
    title: Text
    text: Text
    structure: Text | None = None
    entry: Text | None = None
    links: tuple[Link, ...] = ()
    regions: tuple[Region, ...] = ()
    end: Text | None = None
    parties: tuple[Text, ...] = ()
    steps: tuple[Step, ...] = ()
    parts: tuple[Part, ...] = ()
    spans: tuple[Span, ...] = ()
    counters: tuple[Counter, ...] = ()


class _Document(_Doc, frozen=True, kw_only=True):
    diagrams: tuple[Diagram, ...]


_NEEDS = {"layout": ("structure",), "space": ("regions", "end"), "exchange": ("parties", "steps"),
          "frame": ("entry", "parts"), "counters": ("spans", "counters")}


def load_diagrams(spec: Specification, path: pathlib.Path) -> tuple[Diagram, ...]:
    """The diagrams in the file at `path`, blanks filled in; none if there is no file.

    Raises: `InputError` for the first mistake, with the others as notes.
    """
    if not path.is_file():
        return ()
    problems = Problems(InputError)
    tree = read_tree(path, InputError)
    document = shape(tree, _Document, problems)
    problems.raise_first()
    assert document is not WRONG
    file = File(str(path), tree, problems)
    made = tuple(_checked(spec, diagram, file, ("diagrams", index))
                 for index, diagram in enumerate(document.diagrams))
    problems.raise_first()
    return made


def _checked(spec: Specification, diagram: Diagram, file: File, path: Path) -> Diagram:
    file.known(diagram.group, [group.name for group in spec.groups], "group", (*path, "group"))
    for key in _NEEDS[diagram.kind]:
        if not getattr(diagram, key):
            file.report(path, f"a diagram of kind {diagram.kind} without {key!r}", f"add {key!r}")
    if diagram.structure is not None:
        structures = {item.name: item for item in spec.structures}
        if file.known(diagram.structure, structures, "structure", (*path, "structure")):
            fields = [field.name for field in structures[diagram.structure].fields]
            for index, link in enumerate(diagram.links):
                file.known(link.field, fields, "field", (*path, "links", index, "field"))
    if diagram.entry is not None:
        entries = {item.name: item for item in spec.entries}
        if file.known(diagram.entry, entries, "entry point", (*path, "entry")):
            _check_parts(entries[diagram.entry], diagram, file, path)
    for index, step in enumerate(diagram.steps):
        file.known(step.source, diagram.parties, "party", (*path, "steps", index, "from"))
        file.known(step.target, diagram.parties, "party", (*path, "steps", index, "to"))
    states = {span.state for span in diagram.spans}
    for index, counter in enumerate(diagram.counters):
        for place, state in enumerate(counter.advances):
            file.known(state, states, "state", (*path, "counters", index, "advances", place))
    return _fill(spec, diagram, file, path)


def _check_parts(entry: EntryPoint, diagram: Diagram, file: File, path: Path) -> None:
    slots = [item.name for item in entry.inputs if any(part.frame is not None for part in item.parts)]
    if not slots:
        file.report((*path, "entry"), f"{entry.name} has no frame", "name an entry with inputs in frame+…")
    for index, part in enumerate(diagram.parts):
        file.known(part.upto, slots, "slot of the frame", (*path, "parts", index, "upto"))


def _fill(spec: Specification, diagram: Diagram, file: File, path: Path) -> Diagram:
    """`diagram` with all blanks of its texts filled in."""
    values = _values(spec)

    def text(value: str, where: Path) -> str:
        for match in _BLANK.finditer(value):
            if match[1] not in values:
                file.report(where, f"unknown name {match[0]}", near(match[1], values))
        return _BLANK.sub(lambda match: values.get(match[1], match[0]), value)

    def walk(item: object, where: Path) -> object:
        if isinstance(item, str):
            return text(item, where)
        if isinstance(item, tuple):
            return tuple(walk(one, (*where, index)) for index, one in enumerate(item))
        if isinstance(item, Struct):
            names = {"source": "from", "target": "to"}
            changed = {name: walk(getattr(item, name), (*where, names.get(name, name)))
                       for name in item.__struct_fields__}
            return msgspec.structs.replace(item, **changed)
        return item

    made = walk(diagram, path)
    assert isinstance(made, Diagram)
    return made


def _values(spec: Specification) -> dict[str, str]:
    """What blanks can stand for."""
    values: dict[str, str] = {}
    for constant in spec.constants:
        value = constant.value
        values[constant.name] = _number(value) if isinstance(value, int) else value
    for item in spec.structures:
        values[item.name] = str(item.size)
        values.update({f"{item.name}.{field.name}": f"{field.offset:02X}h" for field in item.fields})
    for entry in spec.entries:
        place = entry.number if entry.number is not None else entry.slot
        values[entry.name] = str(place) if entry.number is not None else f"{place or 0:02X}h"
        values[f"{entry.name}.in"] = ", ".join(f"{item.name} in {item.where}" for item in entry.inputs)
        values[f"{entry.name}.out"] = ", ".join(f"{item.name} in {item.where}" for item in entry.results)
    return values


def _number(value: int) -> str:
    return str(value) if -10 < value < 256 else f"{value:X}h"
