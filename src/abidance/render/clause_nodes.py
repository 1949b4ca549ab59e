# SPDX-License-Identifier: BSD-2-Clause
"""A clause on a page: its words, how it binds, its evidence, and its verdicts if there are any."""

from __future__ import annotations

from collections.abc import Sequence

from docutils import nodes
from sphinx import addnodes

from abidance.render.book import Book, anchor
from abidance.render.nodes import badge, code, commas, link, raw, text
from abidance.render.verdicts import Outcome
from abidance.spec import Clause, Evidence, Layer

__all__ = ["clause_node", "evidence_nodes", "outcome_badge", "stamped_nodes"]


def evidence_nodes(evidence: Sequence[Evidence]) -> list[nodes.Node]:
    """Pieces of evidence, each tag a link to its source."""
    return commas([
        nodes.inline("", "", link(f"evidence.html#source-{item.source}", f"[{item.source}]"),
                     nodes.Text(f" {item.ref}" if item.ref else "")) for item in evidence])


def clause_node(book: Book, clause: Clause) -> nodes.container:
    """A clause of its own, with its anchor."""
    name = anchor(clause.id)
    made = nodes.container(ids=[name], classes=["clause", f"binds-{clause.binds.value}"])
    made += addnodes.index(entries=[("single", clause.id, name, "main", None)])
    head = nodes.paragraph(classes=["clause-head"])
    head += [link(f"#{name}", code(clause.id), "clause-id"), nodes.Text(" "), *_badges(clause)]
    made += head
    made += [nodes.paragraph("", "", *text(book, part, clause.subject)) for part in clause.text.split("\n\n")]
    foot = nodes.paragraph(classes=["clause-foot"])
    if clause.applies_when is not None:
        foot += [nodes.Text("Applies when "), code(str(clause.applies_when)), nodes.Text(". ")]
    foot += [nodes.Text("Evidence: "), *evidence_nodes(clause.evidence), nodes.Text(f". Rev {clause.rev}.")]
    if clause.since:
        foot += nodes.Text(f" Since {clause.since}.")
    made += foot
    made += _verdicts(book, clause)
    return made


def _badges(clause: Clause) -> list[nodes.Node]:
    level = clause.level.value
    found: list[nodes.Node] = [badge(level, "level", f"level-{level.split()[0].lower()}"), nodes.Text(" "),
                               badge(clause.binds.value, "binds")]
    if clause.layer is not Layer.CORE:
        found += [nodes.Text(" "), badge(clause.layer.value, "layer")]
    return found


def outcome_badge(outcome: Outcome) -> nodes.inline:
    """The verdict as a coloured word."""
    return badge(outcome.word, "verdict", f"verdict-{outcome.word.lower().replace(' ', '-')}")


def _verdicts(book: Book, clause: Clause) -> list[nodes.Node]:
    found: list[nodes.Node] = []
    for outcome in book.outcomes(clause):
        line = nodes.paragraph(classes=["clause-verdict"])
        line += [outcome_badge(outcome), nodes.Text(f" {outcome.target}")]
        words = [*(["proven"] if outcome.proven else []), *([outcome.reason] if outcome.reason else [])]
        if outcome.rev != clause.rev:
            words.append(f"tested as rev {outcome.rev}")
        if words:
            line += nodes.Text(f": {'; '.join(words)}")
        if outcome.cases:
            line += [nodes.Text(" ("), *commas(code(name) for name in outcome.cases), nodes.Text(")")]
        found.append(line)
    return found


def stamped_nodes(book: Book, clauses: Sequence[Clause]) -> list[nodes.Node]:
    """The clauses that templates have stamped on an entry, folded away."""
    if not clauses:
        return []
    items = nodes.bullet_list(classes=["stamped"])
    for clause in clauses:
        line = nodes.paragraph()
        line += [code(clause.id.rpartition(".")[2]), nodes.Text(": ")]
        line += text(book, clause.text, clause.subject)
        for outcome in book.outcomes(clause):
            line += [nodes.Text(" "), outcome_badge(outcome), nodes.Text(f" {outcome.target}")]
        item = nodes.list_item("", line, ids=[anchor(clause.id)])
        items += item
    count = "1 clause" if len(clauses) == 1 else f"{len(clauses)} clauses"
    summary = f"And {count} stamped on every call of its kind"
    return [raw(f'<details class="stamped-clauses"><summary>{summary}</summary>'), items, raw("</details>")]
