# SPDX-License-Identifier: BSD-2-Clause
"""What the headers of all languages share: names without clashes, comments without surprises, paddings.

A header is read by compilers that are stricter than people: `plain` takes from a text whatever would end a
comment or begin another, `Names` refuses to give one name twice.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from msgspec import Struct

from abidance.errors import UsageError
from abidance.spec import Clause, EntryPoint, Field, Operand, Specification, Structure

__all__ = [
    "Member",
    "Names",
    "about",
    "base_type",
    "clause_lines",
    "identifier",
    "members",
    "operand_lines",
    "plain",
    "title",
    "wrap",
]

_WIDTH = 92

_KEYWORDS = frozenset("""
    alignas alignof and as asm async auto await bool break case catch char class const continue crate default
    delete do double dyn else enum explicit export extern false float fn for friend goto if impl in inline int
    let long loop match mod move mut mutable namespace new not operator or private protected pub public ref
    register restrict return self short signed sizeof static struct super switch template this trait
    throw true try type typedef typename union unsafe unsigned use using virtual void volatile where while xor
""".split())  # noqa: SIM905 (words read better without quotes)


class Names:
    """Names in use, under the prefix of an ABI."""

    def __init__(self, spec: Specification) -> None:
        self.abi = spec.abi
        self.taken: dict[str, str] = {}

    def upper(self, name: str) -> str:
        """`name` as a macro: ``VMI_PAGE_PT``."""
        prefix = f"{self.abi.upper()}_"
        return self._new(name if name.startswith(prefix) else prefix + name)

    def lower(self, name: str) -> str:
        """`name` as a type: ``vmi_rom_header``."""
        prefix = f"{self.abi}_"
        return self._new(name if name.startswith(prefix) else prefix + name)

    def _new(self, name: str) -> str:
        if name in self.taken:
            raise UsageError(f"two things would be called {name} in the header")
        self.taken[name] = name
        return name


class Member(Struct, frozen=True):
    """A member of a structure in a header. `field` is None for bytes that no field names."""

    name: str
    offset: int
    size: int
    field: Field | None


def identifier(name: str) -> str:
    """`name`, made a name in C, C++ and Rust."""
    return f"{name}_" if name in _KEYWORDS else name


def members(item: Structure) -> Iterator[Member]:
    """The members of a structure in order, unnamed bytes among them."""
    end = 0
    for field in item.fields:
        if field.offset > end:
            yield Member(f"unnamed_{end:x}", end, field.offset - end, None)
        yield Member(identifier(field.name), field.offset, field.size, field)
        end = field.offset + field.size
    if end < item.size:
        yield Member(f"unnamed_{end:x}", end, item.size - end, None)


def plain(text: str) -> str:
    """`text` without anything that could end a comment, begin one, or continue a line."""
    text = " ".join(text.split())
    return text.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?").replace("\\", "/")


def wrap(text: str, first: str = "", rest: str | None = None) -> list[str]:
    """`text` as lines, the first with `first` before it, the others with `rest`."""
    rest = " " * len(first) if rest is None else rest
    return textwrap.wrap(plain(text), _WIDTH, initial_indent=first, subsequent_indent=rest,
                         break_long_words=False, break_on_hyphens=False) or [first.rstrip()]


def title(spec: Specification) -> str:
    """What the header is of."""
    return f"{spec.title} ({spec.abi.upper()}) {spec.version}, for guests and hypervisors."


def about(spec: Specification, lang: str) -> list[str]:
    """What a header says of itself."""
    lines = [*wrap(title(spec)), "", *wrap(spec.summary), ""]
    made = f"Made by `abidance header {spec.abi} --lang {lang}` from the specification. Do not edit."
    return [*lines, *wrap(made), f"Digest of the specification: {spec.digest}"]


def operand_lines(entry: EntryPoint) -> list[str]:
    """The register convention of an entry: what goes in, what comes out, what may change."""
    if entry.prototype_unknown:
        return wrap(f"Prototype unknown: {entry.prototype_unknown}")
    lines: list[str] = []
    for word, operands in (("in", entry.inputs), ("out", entry.results)):
        for item in operands:
            lines += wrap(_operand(item), f"{word:<9}", " " * 9)
    changed = [*entry.clobbers, *(["memory"] if entry.memory else [])]
    if entry.returns:
        lines += wrap(", ".join(changed) or "nothing", "clobbers ")
    else:
        lines.append("does not return")
    if entry.segments:
        lines.append(f"segments {entry.segments.value}")
    if entry.native:
        lines += wrap(entry.native, "native   ")
    return lines


def _operand(item: Operand) -> str:
    return f"{item.where}: {item.name} ({item.type}){', ' + item.doc if item.doc else ''}"


def clause_lines(clauses: tuple[Clause, ...]) -> list[str]:
    """The ids of the clauses of an entry, those of templates in a line of their own."""
    own = [f"{clause.id} ({clause.level.value}, {clause.binds.value})"
           for clause in clauses if not clause.stamped]
    stamped = [clause.id.rpartition(".")[2] for clause in clauses if clause.stamped]
    lines = [f"{'clauses' if not index else '':<9}{text}" for index, text in enumerate(own)]
    return [*lines, *(wrap(", ".join(stamped), "and      ") if stamped else [])]


def base_type(text: str) -> tuple[str, bool]:
    """The base of a type as written, and whether it is a pointer: ``Name*`` gives Name, true."""
    match = re.match(r"([A-Za-z_][A-Za-z0-9_]*)\s*(\**)", text)
    assert match is not None
    return match[1], bool(match[2])
