# SPDX-License-Identifier: BSD-2-Clause
"""The kinds of diagrams: layout of a structure, address space, exchange, frame on a stack, counters."""

from __future__ import annotations

from collections.abc import Callable

from abidance.render.diagram_data import Diagram
from abidance.render.svg import LINE, WIDTH, Canvas, Label
from abidance.spec import Field, Specification

__all__ = ["draw"]


def draw(spec: Specification, diagram: Diagram) -> str:
    """`diagram` as SVG."""
    canvas = Canvas(f"diagram-{diagram.name}", diagram.title, diagram.text)
    _KINDS[diagram.kind](canvas, spec, diagram)
    return canvas.svg()


def _layout(canvas: Canvas, spec: Specification, diagram: Diagram) -> None:
    """One row for each field, its offset before it and its size behind it."""
    item = next(one for one in spec.structures if one.name == diagram.structure)
    leads = {link.field: link.to for link in diagram.links}
    left, width, y = 44.0, 206.0, 4.0
    for field in item.fields:
        height = _field_height(field)
        kind = "lead" if field.name in leads else "quiet" if _is_reserved(field) else "guest"
        canvas.text(left - 8, y + height / 2 + 4, f"{field.offset:02X}h", "mono", "end")
        canvas.box(left, y, width, height, kind)
        canvas.text(left + 8, y + height / 2 + 4, field.name, "mono")
        canvas.text(left + width - 8, y + height / 2 + 4, f"{field.size} B", "small", "end")
        if field.name in leads:
            canvas.line([(left + width, y + height / 2), (left + width + 16, y + height / 2)], arrow=True)
            label = Label(leads[field.name], WIDTH - left - width - 22)
            top = y + height / 2 + 4 - (len(label) - 1) * LINE / 2
            canvas.lines(left + width + 20, top, label, "small")
        y += height
    canvas.text(left - 8, y + 14, f"{item.size:02X}h", "mono", "end")


def _field_height(field: Field) -> float:
    return 22.0 + min(30.0, max(0, field.size - 4) / 2)


def _is_reserved(field: Field) -> bool:
    return field.name.startswith(("reserved", "rom_pad", "pad", "unused")) or (field.doc or "") == "reserved"


def _space(canvas: Canvas, spec: Specification, diagram: Diagram) -> None:  # noqa: ARG001 (all kinds alike)
    """A column of ranges, the highest address on top; not to scale."""
    left, width, y = 92.0, 150.0, 12.0
    canvas.text(left - 8, y + 4, diagram.end or "", "mono", "end")
    for region in reversed(diagram.regions):
        note = Label(region.note or "", WIDTH - left - width - 14)
        title = Label(region.title, width - 14)
        height = max(34.0, 14 + LINE * max(len(title), len(note)))
        canvas.box(left, y, width, height, region.owner)
        middle = y + height / 2 + 4
        canvas.lines(left + width / 2, middle - (len(title) - 1) * LINE / 2, title, "", "middle")
        if region.note:
            canvas.lines(left + width + 8, middle - (len(note) - 1) * LINE / 2, note, "small")
        y += height
        canvas.text(left - 8, y + 4, region.start, "mono", "end")


def _exchange(canvas: Canvas, spec: Specification, diagram: Diagram) -> None:  # noqa: ARG001
    """Parties side by side, time running down."""
    column = WIDTH / len(diagram.parties)
    at = {party: column * (index + 0.5) for index, party in enumerate(diagram.parties)}
    for party, x in at.items():
        canvas.box(x - column / 2 + 8, 4, column - 16, 26, "guest" if x < WIDTH / 2 else "hypervisor")
        canvas.text(x, 21, party, "", "middle")
    y = 50.0
    for step in diagram.steps:
        source, target = at[step.source], at[step.target]
        room = WIDTH - 40 if source != target else WIDTH / 2
        text = Label(step.text, room)
        middle = (source + target) / 2
        if source == target:
            on_left = source < WIDTH / 2
            x = 12.0 if on_left else WIDTH - 12.0
            y = canvas.lines(x, y, text, "", "start" if on_left else "end")
            canvas.line([(source - 8, y - 6), (source + 8, y - 6)], "tick")
        else:
            y = canvas.lines(middle, y, text, "", "middle")
            canvas.line([(source, y - 6), (target, y - 6)], arrow=True)
        if step.note:
            y = canvas.lines(middle, y + 10, Label(step.note, WIDTH - 40), "small", "middle")
        y += 14
    for x in at.values():
        canvas.parts.insert(0, f'<polyline class="life" points="{x:g},30 {x:g},{y - 4:g}"/>')


def _frame(canvas: Canvas, spec: Specification, diagram: Diagram) -> None:
    """A frame on the stack, the lowest address at the bottom, with when each part of it is there."""
    entry = next(one for one in spec.entries if one.name == diagram.entry)
    slots = [(part.frame, item.name) for item in entry.inputs for part in item.parts
             if part.frame is not None]
    slots.sort(reverse=True)
    left, width, height, y = 92.0, 130.0, 26.0, 16.0
    ends = {part.upto: part.when for part in diagram.parts}
    canvas.text(left + width / 2, y - 4, "higher addresses", "small", "middle")
    begin, when = y, ""
    kinds = ("guest", "lead", "quiet")
    number = len(diagram.parts)
    for offset, name in slots:
        if name in ends:
            _brace(canvas, left + width, begin, y, when)
            begin, when = y, ends[name]
            number -= 1
        canvas.text(left - 8, y + 17, f"frame+{offset}", "mono", "end")
        canvas.box(left, y, width, height, kinds[max(0, min(number, 2))])
        canvas.text(left + width / 2, y + 17, name.upper(), "mono", "middle")
        y += height
    _brace(canvas, left + width, begin, y, when)
    canvas.text(left + width / 2, y + 16, "lowest address: the stack pointer", "small", "middle")


def _brace(canvas: Canvas, x: float, top: float, bottom: float, text: str) -> None:
    if not text or bottom - top < 1:
        return
    canvas.line([(x + 5, top + 3), (x + 11, top + 3), (x + 11, bottom - 3), (x + 5, bottom - 3)])
    label = Label(text, WIDTH - x - 20)
    canvas.lines(x + 17, (top + bottom) / 2 + 4 - (len(label) - 1) * LINE / 2, label, "small")


def _counters(canvas: Canvas, spec: Specification, diagram: Diagram) -> None:  # noqa: ARG001
    """States along time, and under them what each counter makes of it."""
    left, width = 10.0, WIDTH - 20.0
    unit = width / sum(span.length for span in diagram.spans)
    states = dict.fromkeys(span.state for span in diagram.spans)
    kinds = dict(zip(states, ("guest", "lead", "quiet", "machine"), strict=False))
    x = left
    for span in diagram.spans:
        canvas.box(x, 6, span.length * unit, 26, kinds.get(span.state, "machine"))
        canvas.text(x + span.length * unit / 2, 23, span.state, "small", "middle")
        x += span.length * unit
    y = 56.0
    rise = 56.0 / sum(span.length for span in diagram.spans)
    for counter in diagram.counters:
        canvas.text(left, y, f"{counter.title}: advances while {' or '.join(counter.advances)}", "small")
        base, x, value = y + 74, left, 0.0
        points = [(x, base)]
        for span in diagram.spans:
            x += span.length * unit
            value += span.length * rise if span.state in counter.advances else 0
            points.append((x, base - value))
        canvas.line([(left, base), (left + width, base)], "axis")
        canvas.line(points, "curve")
        y = base + 28
    canvas.text(left + width, y - 10, "real time →", "small", "end")


_KINDS: dict[str, Callable[[Canvas, Specification, Diagram], None]] = {
    "layout": _layout, "space": _space, "exchange": _exchange, "frame": _frame, "counters": _counters}
