# SPDX-License-Identifier: BSD-2-Clause
"""What every step of loading needs: the names declared so far, and a file that can report on itself.

`Scope` holds the names of the whole specification. `File` is one file of it: reports go to the shared
`Problems` with the place that a path has in that file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from abidance.errors import Place
from abidance.spec.kinds import RegisterKind
from abidance.spec.parts import Evidence
from abidance.spec.problems import Path, Problems, near
from abidance.spec.tree import Node
from abidance.spec.types import Carrier, ProfileKey, Register, Source

__all__ = ["File", "Scope"]


@dataclass
class File:
    """One file of a specification or a profile."""

    name: str
    tree: Node
    problems: Problems

    def report(self, path: Path, problem: str, mend: str) -> None:
        """Note a problem at the key or item at `path`."""
        self.problems.add(self.tree.find(path), path, problem, mend)

    def begin(self, path: Path) -> Place:
        """Where the text of the scalar at `path` begins: behind the quote if it has one."""
        node = self.tree.value_at(path)
        if node is None or node.text is None:
            return self.tree.find(path)
        place = node.place
        return Place(place.file, place.line, place.column + 1) if node.quoted else place

    def known(self, word: str, names: Iterable[str], what: str, path: Path) -> bool:
        """Whether `word` is among `names`; if not, report ``unknown <what>`` at `path`."""
        names = list(names)
        if word in names:
            return True
        self.report(path, f"unknown {what} {word!r}", near(word, names))
        return False


@dataclass
class Scope:
    """The names of one specification while it is loaded."""

    abi: str
    sources: Mapping[str, Source]
    registers: Mapping[str, Register]
    carriers: dict[str, Carrier] = field(default_factory=dict)
    keys: dict[str, ProfileKey] = field(default_factory=dict)
    structures: dict[str, int] = field(default_factory=dict)
    """Size in bytes of each structure."""
    msrs: set[str] = field(default_factory=set)
    entries: set[str] = field(default_factory=set)

    @property
    def word(self) -> int:
        """Width in bits of the widest general register: that of a pointer."""
        widths = [item.bits for item in self.registers.values() if item.kind is RegisterKind.GENERAL]
        return max(widths, default=32)

    def evidence(self, texts: tuple[str, ...], file: File, path: Path) -> tuple[Evidence, ...]:
        """Read ``S part 3`` as source S, reference "part 3"; report tags that no source has."""
        found: list[Evidence] = []
        for index, text in enumerate(texts):
            tag, _, ref = text.partition(" ")
            if tag not in self.sources:
                tags = ", ".join(self.sources)
                mend = f"begin with one of {tags}; quote evidence that has a comma"
                file.report((*path, index), f"{tag!r} is not a declared source", mend)
                continue
            found.append(Evidence(tag, " ".join(ref.split())))
        return tuple(found)
