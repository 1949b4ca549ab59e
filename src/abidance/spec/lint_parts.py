# SPDX-License-Identifier: BSD-2-Clause
"""Rules about entries and structures: effects, operands, stack slots, numbers, bytes without a field."""

from __future__ import annotations

import itertools
import re

from abidance.spec.kinds import Binds
from abidance.spec.lint_folder import Folder, Rule
from abidance.spec.parts import Field, Structure
from abidance.spec.types import EntryPoint

__all__ = ["RULES"]

_DENSE = 2
"""Numbers are meant to be without gaps if at least one in so many of their range is taken."""


def effects(folder: Folder) -> None:
    """Every entry has a clause of its own about what an implementation does for it."""
    told = {clause.entry for clause in folder.spec.clauses
            if clause.binds is Binds.IMPLEMENTATION and not clause.stamped}
    for entry in folder.spec.entries:
        if entry.name not in told and not entry.subcommands:
            folder.report(folder.entry(entry), "no clause says what an implementation does for it",
                          "add a clause that binds the implementation")


def returning(folder: Folder) -> None:
    """What does not return has no results."""
    for entry in folder.spec.entries:
        if entry.results and not entry.returns:
            folder.report(folder.entry(entry, "results"), "does not return, yet has results",
                          "remove results, or returns: false")


def operands(folder: Folder) -> None:
    """Operands are explained; what they point at is declared; stack slots leave no gap."""
    for entry in folder.spec.entries:
        for side in ("inputs", "results"):
            for index, operand in enumerate(getattr(entry, side)):
                if not operand.doc:
                    folder.report(folder.entry(entry, side, index), f"{operand.name!r} is not explained",
                                  "add doc: what it holds, and its unit")
        _pointers(folder, entry)
        _stack(folder, entry)


def _pointers(folder: Folder, entry: EntryPoint) -> None:
    given = {name for operand in entry.inputs for name in operand.registers}
    for side in ("inputs", "results"):
        for index, operand in enumerate(getattr(entry, side)):
            for part in operand.parts:
                if part.base is not None and part.base not in given:
                    folder.report(folder.entry(entry, side, index, "where"),
                                  f"no input says what {part.base} points at",
                                  f"add an input in {part.base}")
            indirect = any(part.base or part.frame is not None for part in operand.parts)
            if (indirect and side == "results") and not entry.memory:
                folder.report(folder.entry(entry, side, index, "where"),
                              "a result in memory, yet memory is false", "say memory: true")


def _stack(folder: Folder, entry: EntryPoint) -> None:
    slots = sorted((part.stack, index) for index, operand in enumerate(entry.inputs)
                   for part in operand.parts if part.stack is not None)
    word = _word(folder)
    for (before, _), (here, index) in itertools.pairwise(slots):
        if here - before != word:
            folder.report(folder.entry(entry, "inputs", index, "where"),
                          f"stack+{here} follows stack+{before}", f"slots are {word} bytes apart")


def _word(folder: Folder) -> int:
    """Size of a stack slot in bytes: that of the widest general register."""
    return max((item.bits for item in folder.spec.registers if item.kind.value == "general"), default=32) // 8


def numbers(folder: Folder) -> None:
    """Numbers that are meant to be dense have no gaps."""
    siblings: dict[tuple[int, ...], list[EntryPoint]] = {}
    for entry in folder.spec.entries:
        if entry.number is not None:
            siblings.setdefault(entry.numbers[:-1], []).append(entry)
    for entries in siblings.values():
        taken = {entry.number: entry for entry in entries if entry.number is not None}
        top = max(taken)
        if len(taken) * _DENSE < top + 1:
            continue
        missing = [number for number in range(top) if number not in taken]
        for first, last in _runs(missing):
            span = f"number {first} is" if first == last else f"numbers {first} to {last} are"
            folder.report(folder.entry(taken[last + 1], "number"), f"{span} nobody's",
                          "add the entry, also if nothing but its name is known")


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """The runs of consecutive numbers in a rising list."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def answers(folder: Folder) -> None:
    """An entry that is asked for by number, of a carrier that has forms, may be answered one of them."""
    forms = {carrier.name: carrier.forms for carrier in folder.spec.carriers}
    for entry in folder.spec.entries:
        asked = bool(entry.numbers) and not entry.subcommands and entry.prototype_unknown is None
        if forms[entry.carrier] and not entry.relocations and asked:
            folder.report(folder.entry(entry), "no form in which it may be answered",
                          f"add relocations: some of {', '.join(forms[entry.carrier])}")


def layouts(folder: Folder) -> None:
    """Every byte of a structure belongs to a field, and fields stand where a compiler would put them."""
    sizes = {item.name: item.align for item in folder.spec.structures}
    for item in folder.spec.structures:
        order = _written_order(folder, item)
        end = 0
        for field in item.fields:
            here = folder.part("structures", item.group, item.name, "fields", order[field.name], "offset")
            if field.offset > end:
                folder.report(here, f"bytes {end} to {field.offset - 1} belong to no field",
                              "name them: reserved")
            natural = min(_natural(field, sizes, folder), item.align)
            if field.offset % natural:
                folder.report(here, f"{field.type} at {field.offset} in a structure aligned to {item.align}",
                              f"put it at a multiple of {natural}, or leave align out")
            end = field.offset + field.size
        size = folder.part("structures", item.group, item.name, "size")
        if end < item.size:
            folder.report(size, f"bytes {end} to {item.size - 1} belong to no field", "name them: reserved")
        if item.size % item.align:
            folder.report(size, f"size {item.size} is no multiple of align {item.align}",
                          "mend one of the two")


def _written_order(folder: Folder, item: Structure) -> dict[str, int]:
    file, path = folder.part("structures", item.group, item.name, "fields")
    node = file.tree.value_at(path)
    written = node.items if node is not None and node.items is not None else []
    return {name.text or "": index for index, one in enumerate(written)
            if one.members is not None and (name := one.members.get("name")) is not None}


def _natural(field: Field, structures: dict[str, int], folder: Folder) -> int:
    """The alignment in bytes that a compiler would give a field."""
    base = re.sub(r"\[.*", "", field.type).strip()
    if base.endswith("*"):
        return _word(folder)
    return structures.get(base) or field.size // field.count


RULES: tuple[Rule, ...] = (effects, returning, operands, numbers, answers, layouts)
