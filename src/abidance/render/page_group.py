# SPDX-License-Identifier: BSD-2-Clause
"""The page of a group: introduction, diagrams, entry points, topics, and the parts that are not calls."""

from __future__ import annotations

from collections.abc import Sequence

from docutils import nodes
from sphinx import addnodes

from abidance.render.book import Book, group_page
from abidance.render.clause_nodes import clause_node, evidence_nodes, stamped_nodes
from abidance.render.diagrams import draw
from abidance.render.nodes import code, commas, fields, link, paragraphs, raw, section, table, text
from abidance.spec import EntryPoint, Group, Operand

__all__ = ["group_nodes"]


def group_nodes(book: Book, group: Group) -> nodes.section:
    """The whole page."""
    page = section(group_page(group.name), group.title)
    page += paragraphs(book, group.summary)
    if group.doc:
        page += paragraphs(book, group.doc)
    entries = [book.spec.entry(name) for name in group.entries]
    if entries:
        page += _overview(entries)
    for diagram in book.diagrams:
        if diagram.group == group.name:
            figure = nodes.container(classes=["diagram"])
            figure += [raw(draw(book.spec, diagram)), nodes.caption("", "", nodes.strong("", diagram.title),
                                                                    nodes.Text(f". {diagram.text}"))]
            page += figure
    page += [_entry(book, entry) for entry in entries]
    for topic in group.topics:
        part = section(topic, topic.replace("-", " ").capitalize(), "subject")
        part += [clause_node(book, clause) for clause in book.own_clauses(group, topic)]
        page += part
    page += _parts(book, group)
    return page


def place(entry: EntryPoint) -> str:
    """Where an entry is: its number, or the offset of its slot."""
    return str(entry.number) if entry.number is not None else f"at {entry.slot or 0:02X}h"


def _overview(entries: Sequence[EntryPoint]) -> nodes.table:
    return table(("", "Entry point", "What it does"),
                 [(place(entry), link(f"#{entry.name}", code(entry.name)), entry.summary)
                  for entry in entries], "overview")


def _entry(book: Book, entry: EntryPoint) -> nodes.section:
    made = section(entry.name, entry.name, "entry-point")
    made += addnodes.index(entries=[("single", entry.name, entry.name, "main", None)])
    made += paragraphs(book, entry.summary, entry.name)
    if entry.doc:
        made += paragraphs(book, entry.doc, entry.name)
    if entry.inputs or entry.results:
        made += _operands(book, entry)
    made += _facts(book, entry)
    for clause in entry.clauses:
        if not clause.stamped:
            made += clause_node(book, clause)
    made += stamped_nodes(book, [clause for clause in entry.clauses if clause.stamped])
    return made


def _operands(book: Book, entry: EntryPoint) -> nodes.table:
    rows = [(way, code(item.where), code(item.name), _type(book, item),
             text(book, item.doc or "", entry.name))
            for way, operands in (("in", entry.inputs), ("out", entry.results)) for item in operands]
    return table(("", "Where", "Name", "Type", "Meaning"), rows, "operands")


def _type(book: Book, item: Operand) -> nodes.Node:
    address = book.link(item.type.rstrip("*[]0123456789").strip())
    return link(address, code(item.type)) if address else code(item.type)


def _facts(book: Book, entry: EntryPoint) -> nodes.field_list:
    number = str(entry.number) if entry.number is not None else ""
    changed: list[nodes.Node] = [code(name) for name in entry.clobbers]
    if entry.memory:
        changed.append(nodes.Text("guest memory"))
    unknown = entry.prototype_unknown
    rows: list[tuple[str, object]] = [
        ("Number", number),
        ("Offset", f"{entry.slot:02X}h of the mapped image" if entry.slot is not None else ""),
        ("Prototype", f"unknown: {unknown}" if unknown else ""),
        ("May change", commas(changed) or ("nothing" if entry.returns and not unknown else "")),
        ("Returns", "" if entry.returns else "never to its caller"),
        ("Native", code(entry.native) if entry.native else "nothing of the same effect"),
        ("May be answered", commas([code(form) for form in entry.relocations])),
        ("Segments", entry.segments.value if entry.segments else ""),
        ("May wait", f"in the queue {entry.deferral}" if entry.deferral else ""),
        ("Since", entry.since or ""),
        ("If not offered", text(book, entry.withheld, entry.name) if entry.withheld else ""),
        ("Known use", text(book, entry.usage, entry.name) if entry.usage else ""),
        ("Evidence", evidence_nodes(entry.evidence)),
    ]
    return fields(rows)


def _parts(book: Book, group: Group) -> list[nodes.Node]:
    """Constants, structures, events, start states, MSRs and leaves of a group."""
    spec, found = book.spec, list[nodes.Node]()
    constants = [item for item in spec.constants if item.group == group.name]
    if constants:
        part = section("constants", "Constants")
        rows = [(nodes.target("", "", code(item.name), ids=[item.name]), code(_value(item.value)),
                 text(book, item.doc or ""), evidence_nodes(item.evidence)) for item in constants]
        part += table(("Name", "Value", "Meaning", "Evidence"), rows)
        found.append(part)
    for item in (one for one in spec.structures if one.group == group.name):
        part = section(item.name, f"Structure {item.name}")
        words = f"{item.doc or ''} {item.size} bytes, aligned to {item.align}."
        part += paragraphs(book, words.strip())
        part += table(("Offset", "Field", "Type", "Meaning"),
                      [(code(f"{field.offset:02X}h"), code(field.name), code(field.type),
                        text(book, field.doc or "")) for field in item.fields])
        part += fields([("Evidence", evidence_nodes(item.evidence))])
        found.append(part)
    return [*found, *_moments(book, group), *_registers(book, group)]


def _moments(book: Book, group: Group) -> list[nodes.Node]:
    """Events and start states."""
    found: list[nodes.Node] = []
    for event in (one for one in book.spec.events if one.group == group.name):
        part = section(event.name, f"Event {event.name}")
        pushed = [*(["error code"] if event.error_code else []), *event.frame]
        part += fields([("When", text(book, event.when)), ("Vector", str(event.vector)),
                        ("Frame, from the lowest address", commas([code(name) for name in pushed])),
                        ("Evidence", evidence_nodes(event.evidence))])
        part += paragraphs(book, event.doc) if event.doc else []
        found.append(part)
    for state in (one for one in book.spec.start if one.group == group.name):
        part = section(state.name, f"State {state.name}")
        part += paragraphs(book, f"When {state.when}.")
        part += table(("Register", "Holds"), [(code(name), words) for name, words in state.registers])
        part += paragraphs(book, state.doc) if state.doc else []
        part += fields([("Evidence", evidence_nodes(state.evidence))])
        found.append(part)
    return found


def _registers(book: Book, group: Group) -> list[nodes.Node]:
    """MSRs and discovery leaves."""
    found: list[nodes.Node] = []
    for msr in (one for one in book.spec.msrs if one.group == group.name):
        part = section(msr.name, f"Register {msr.name}")
        bits = ", ".join(f"{field.name} {field.high}:{field.low}" for field in msr.fields)
        part += paragraphs(book, msr.doc) if msr.doc else []
        part += fields([("Number", code(f"{msr.number:#x}")), ("Bits", f"{msr.bits}: {bits}" if bits else
                                                               str(msr.bits)), ("Access", msr.access.value),
                        ("Evidence", evidence_nodes(msr.evidence))])
        found.append(part)
    for leaf in (one for one in book.spec.leaves if one.group == group.name):
        part = section(leaf.name, f"Leaf {leaf.name}")
        part += paragraphs(book, leaf.doc) if leaf.doc else []
        number = f"{leaf.leaf:#x}" if leaf.leaf is not None else ""
        part += fields([("Through", leaf.via.value), ("Leaf", number),
                        ("Evidence", evidence_nodes(leaf.evidence))])
        part += table(("Where", "Name", "Type", "Meaning"),
                      [(code(item.where), code(item.name), code(item.type), text(book, item.doc or ""))
                       for item in leaf.outputs])
        found.append(part)
    return found


def _value(value: int | str) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if -10 < value < 10 else f"{value:X}h ({value})"
