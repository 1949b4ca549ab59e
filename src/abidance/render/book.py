# SPDX-License-Identifier: BSD-2-Clause
"""What the web site is made of, and where in it everything stands.

One page for each group, `group-<name>`; in it an anchor for each entry point (``SetPxE``), topic (``rom``),
clause (``SetPxE.stores-value``), constant, structure, event and start state. `link` finds them by the names
that texts use.
"""

from __future__ import annotations

import re
from functools import cached_property

from msgspec import Struct

from abidance.render.diagram_data import Diagram
from abidance.render.verdicts import Outcome, Verdicts
from abidance.spec import Clause, Group, Specification
from abidance.spec.trace import Trace

__all__ = ["Book", "Page", "anchor"]


class Page(Struct, frozen=True):
    """A page: its file without suffix, its title, and the caption under which it is listed."""

    name: str
    title: str
    part: str


def anchor(clause_id: str) -> str:
    """The anchor of a clause on its page: its id without the ABI."""
    return clause_id.partition(".")[2]


class Book(Struct, frozen=True, dict=True):
    """A specification with all that is shown beside it."""

    spec: Specification
    diagrams: tuple[Diagram, ...] = ()
    trace: Trace | None = None
    verdicts: Verdicts | None = None

    @cached_property
    def pages(self) -> tuple[Page, ...]:
        """All pages but the front page, in order."""
        groups = [Page(group_page(group.name), group.title, "The document") for group in self.spec.groups]
        look = [Page("calls-by-number", "Calls by number", "Look up"),
                Page("calls-by-name", "Calls by name", "Look up"),
                Page("all-clauses", "All clauses", "Look up")]
        about = [Page("evidence", "Evidence and words", "Read with it"),
                 Page("classes", "Conformance classes", "Read with it"),
                 Page("profile", "Choices of an implementation", "Read with it")]
        if self.trace is not None:
            about.append(Page("trace", self.trace.title, "Read with it"))
        return (*groups, *look, *about)

    @cached_property
    def _places(self) -> dict[str, str]:
        """The address of everything that a text may name."""
        spec, places = self.spec, dict[str, str]()
        for kind in (spec.constants, spec.structures, spec.events, spec.start):
            for item in kind:
                places[item.name] = f"{group_page(item.group)}.html#{item.name}"
        for clause in spec.clauses:
            places[clause.id] = f"{group_page(clause.group)}.html#{anchor(clause.id)}"
            if clause.entry is None:
                places[f"{spec.abi}.{clause.subject}"] = f"{group_page(clause.group)}.html#{clause.subject}"
        for entry in spec.entries:
            address = f"{group_page(entry.group)}.html#{entry.name}"
            for name in (entry.name, f"{spec.abi.upper()}_{entry.name}", f"{spec.abi}.{entry.name}"):
                places[name] = address
        return places

    def link(self, name: str) -> str | None:
        """The address of what is called `name`: an entry, a clause id, a constant, a structure."""
        return self._places.get(name)

    @cached_property
    def names(self) -> re.Pattern[str]:
        """Matches the names in a text that are worth a link."""
        spec = self.spec
        lone = [entry.name for entry in spec.entries] + [
            f"{spec.abi.upper()}_{entry.name}" for entry in spec.entries]
        words = "|".join(sorted(map(re.escape, lone), key=len, reverse=True))
        dotted = rf"{spec.abi}\.[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*"
        return re.compile(rf"(?<![\w.])(?:{dotted}|(?:{words})(?![\w]))")

    def outcomes(self, clause: Clause) -> tuple[Outcome, ...]:
        """The verdicts of a clause, one for each target; empty without results."""
        return self.verdicts.by_clause.get(clause.id, ()) if self.verdicts is not None else ()

    def own_clauses(self, group: Group, topic: str) -> tuple[Clause, ...]:
        """The clauses of a topic, in order."""
        return tuple(clause for clause in self.spec.clauses
                     if clause.group == group.name and clause.subject == topic and not clause.stamped)


def group_page(name: str) -> str:
    """The page of a group."""
    return f"group-{name}"
