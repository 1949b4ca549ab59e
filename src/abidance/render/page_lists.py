# SPDX-License-Identifier: BSD-2-Clause
"""The pages that list: calls by number and by name, all clauses."""

from __future__ import annotations

from docutils import nodes

from abidance.render.book import Book
from abidance.render.clause_nodes import outcome_badge
from abidance.render.nodes import badge, code, commas, link, plain, section, table
from abidance.render.page_group import place
from abidance.spec import EntryPoint, Layer

__all__ = ["by_name", "by_number", "clauses"]


def by_number(book: Book) -> nodes.section:
    """All entry points, those at fixed places last."""
    page = section("calls-by-number", "Calls by number")
    page += _table(book, book.spec.entries)
    return page


def by_name(book: Book) -> nodes.section:
    """All entry points by their names."""
    page = section("calls-by-name", "Calls by name")
    page += _table(book, tuple(sorted(book.spec.entries, key=lambda entry: entry.name.casefold())))
    return page


def _table(book: Book, entries: tuple[EntryPoint, ...]) -> nodes.table:
    titles = {group.name: group.title for group in book.spec.groups}
    rows = [(place(entry), link(book.link(entry.name) or "", code(entry.name)), entry.summary,
             _places(entry, "inputs"), _places(entry, "results"),
             link(f"group-{entry.group}.html", titles[entry.group])) for entry in entries]
    return table(("", "Entry point", "What it does", "In", "Out", "Group"), rows, "calls")


def _places(entry: EntryPoint, side: str) -> list[nodes.Node]:
    if entry.prototype_unknown:
        return [nodes.Text("unknown")]
    return commas([code(item.where) for item in getattr(entry, side)])


def clauses(book: Book) -> nodes.section:
    """Every clause that is not stamped, by group, with its verdicts."""
    spec = book.spec
    page = section("all-clauses", "All clauses")
    own = [clause for clause in spec.clauses if not clause.stamped]
    stamped = len(spec.clauses) - len(own)
    page += plain(f"{len(own)} clauses of their own. {stamped} more are stamped from templates on every call "
                  "of a kind and stand with the call.")
    targets = book.verdicts.targets if book.verdicts is not None else ()
    for group in spec.groups:
        part = section(f"clauses-{group.name}", group.title)
        rows: list[list[object]] = []
        for clause in own:
            if clause.group != group.name:
                continue
            layer = "" if clause.layer is Layer.CORE else clause.layer.value
            row: list[object] = [link(book.link(clause.id) or "", code(clause.id)),
                                 badge(clause.level.value, "level",
                                       f"level-{clause.level.value.split()[0].lower()}"),
                                 clause.binds.value, layer]
            seen = {outcome.target: outcome for outcome in book.outcomes(clause)}
            row += [outcome_badge(seen[target.name]) if target.name in seen else "" for target in targets]
            rows.append(row)
        if rows:
            part += table(("Clause", "Level", "Binds", "Layer", *(target.name for target in targets)), rows,
                          "clauses")
            page += part
    return page
