# SPDX-License-Identifier: BSD-2-Clause
"""The pages about the document: the front page, evidence and words, classes, choices, the trace of facts."""

from __future__ import annotations

from docutils import nodes

from abidance.render.book import Book, group_page
from abidance.render.nodes import (
    badge,
    code,
    commas,
    fields,
    link,
    paragraphs,
    plain,
    section,
    table,
    text,
)
from abidance.spec import ConformanceClass, ProfileKey
from abidance.spec.trace import Fact, Trace

__all__ = ["classes", "evidence", "front", "profile", "trace"]

LEVELS = (("MUST", "whoever it binds breaks the promise by doing otherwise"),
          ("MUST NOT", "whoever it binds breaks the promise by doing it"),
          ("SHOULD", "there may be a reason to do otherwise; others may be surprised"),
          ("MAY", "permitted, and to be expected by the other side"))
LAYERS = (("core", "a normative source says it"),
          ("practice", "known only from how somebody behaves, or by inference; judged apart"))
VERDICTS = (("PASS", "a case that proves the clause saw it hold"),
            ("FAIL", "the implementation does otherwise"),
            ("CRASH", "it died: triple fault, reset"),
            ("TIMEOUT", "the guest's budget ran out"),
            ("MISS", "it was to run, and no verdict came"),
            ("ERROR", "it could not be decided"),
            ("DIFFERS", "other than practice, SHOULD or MAY lets expect; no obligation is violated"),
            ("NOT TESTED", "nothing was run, for the reason given"),
            ("SKIP", "the case decided that it does not apply"),
            ("exempt", "the implementation's declared choices take the clause out"),
            ("not judged", "the clause binds guests"))


def front(book: Book) -> nodes.section:
    """The front page."""
    spec = book.spec
    page = section("front", f"{spec.title} {spec.version}")
    page += paragraphs(book, spec.summary)
    calls = sum(entry.number is not None for entry in spec.entries)
    own = sum(not clause.stamped for clause in spec.clauses)
    words = (f"{calls} calls in {len(spec.groups)} groups, {own} clauses, {len(spec.clauses) - own} stamped "
             "ones. Every clause has an identifier, says whom it binds and how strongly, and names its ")
    page += nodes.paragraph("", "", nodes.Text(words), link("evidence.html", "evidence"), nodes.Text("."))
    rows = [(link(f"{group_page(group.name)}.html", group.title),
             commas([link(book.link(name) or "", name) for name in group.entries]),
             str(sum(clause.group == group.name for clause in spec.clauses))) for group in spec.groups]
    page += table(("Group", "Entry points", "Clauses"), rows, "groups")
    page += _tested(book)
    page += nodes.paragraph("", "", nodes.Text("Digest of the specification: "), code(spec.digest),
                            classes=["digest"])
    return page


def _tested(book: Book) -> list[nodes.Node]:
    if book.verdicts is None:
        return []
    part = section("tested", "Tested")
    words = f"The verdicts beside the clauses are those of {book.verdicts.tool or 'a run'}"
    part += plain(f"{words}, {book.verdicts.started}." if book.verdicts.started else f"{words}.")
    if not book.verdicts.current:
        part += nodes.warning("", plain("They are of another text of the specification than this one: where "
                                        "the revision of a clause has moved, its verdict says so."))
    rows = [(target.name, target.engine, f"{target.offered} of {target.calls}")
            for target in book.verdicts.targets]
    part += table(("Target", "Executed by", "Calls offered"), rows)
    return [part]


def evidence(book: Book) -> nodes.section:
    """The sources, and what the words of a clause mean."""
    spec = book.spec
    page = section("evidence", "Evidence and words")
    page += plain("Each clause names the sources that say what it says. A MUST of the core layer that binds "
                  "implementations has a normative source: what one guest happens to do is nobody's duty.")
    for source in spec.sources:
        part = section(f"source-{source.tag}", f"[{source.tag}] {source.title}")
        own = [clause for clause in spec.clauses if not clause.stamped]
        count = sum(any(item.source == source.tag for item in clause.evidence) for clause in own)
        part += paragraphs(book, source.doc) if source.doc else []
        part += plain(f"{'Normative. ' if source.normative else ''}Cited by {count} of {len(own)} clauses.")
        page += part
    for anchor, title, rows in (("levels", "Levels", LEVELS), ("layers", "Layers", LAYERS),
                                ("verdict-words", "Verdicts", VERDICTS)):
        part = section(anchor, title)
        part += table(("Word", "Meaning"), [(badge(word, f"level-{word.split()[0].lower()}", "verdict",
                                                   f"verdict-{word.lower().replace(' ', '-')}"), words)
                                            for word, words in rows])
        page += part
    return page


def classes(book: Book) -> nodes.section:
    """The conformance classes."""
    page = section("classes", "Conformance classes")
    page += plain("A class is a set of calls that stand or fall together. An implementation conforms to a "
                  "class if it offers all its calls and violates none of its clauses.")
    for item in book.spec.classes:
        page += _class(book, item)
    return page


def _class(book: Book, item: ConformanceClass) -> nodes.section:
    whole = book.spec.conformance(item.name)
    part = section(f"class-{item.name}", item.name)
    part += paragraphs(book, f"{item.title}.")
    part += paragraphs(book, item.doc) if item.doc else []
    outcomes = book.verdicts.classes if book.verdicts is not None else ()
    targets = [outcome for outcome in outcomes if outcome.name == item.name]
    part += fields([
        ("Includes", commas([link(f"#class-{name}", name) for name in item.includes])),
        ("Calls of its own", commas([link(book.link(name) or "", code(name)) for name in item.calls])),
        ("In all", f"{len(whole.calls)} entry points, {len(whole.clauses)} clauses"),
        ("Conforming", ", ".join(f"{outcome.target}: {outcome.word}" for outcome in targets)),
    ])
    return part


def profile(book: Book) -> nodes.section:
    """The choices that an implementation declares, and the clauses that permit and use them."""
    page = section("profile", "Choices of an implementation")
    page += plain("What the document leaves free, an implementation declares in its profile; clauses apply "
                  "according to it.")
    for key in book.spec.profile_keys:
        page += _choice(book, key)
    return page


def _choice(book: Book, key: ProfileKey) -> nodes.section:
    part = section(f"choice-{key.name}", key.name)
    part += paragraphs(book, key.doc)
    users = [clause for clause in book.spec.clauses
             if clause.applies_when is not None and key.name in clause.applies_when.names]
    permitted: list[nodes.Node] = []
    for value, clause_id in key.permitted_by:
        words = f"{value}: " if value else ""
        clause_link = link(book.link(clause_id) or "", code(clause_id))
        permitted.append(nodes.inline("", "", nodes.Text(words), clause_link))
    anything = "true, false" if key.type.value == "bool" else "any number"
    part += fields([
        ("Values", ", ".join(map(str, key.values)) or anything),
        ("If not declared", "" if key.default is None else str(key.default).lower()),
        ("Decided by", key.decided_by.value),
        ("Permitted by", commas(permitted)),
        ("Used by", commas([link(book.link(clause.id) or "", code(clause.id)) for clause in users])),
    ])
    return part


def trace(book: Book, facts: Trace) -> nodes.section:
    """From each fact to where it stands in the document."""
    page = section("trace", facts.title)
    page += paragraphs(book, facts.summary)
    for number in facts.sections:
        part = section(f"facts-{number.number}", f"{number.number} {number.title}")
        part += table(("Fact", "Where it stands", "Why not, or not wholly"),
                      [(text(book, fact.fact), _held(book, fact), fact.not_normative or "")
                       for fact in number.facts], "trace")
        page += part
    return page


def _held(book: Book, fact: Fact) -> list[nodes.Node]:
    own = {"profile": "profile.html#choice-", "classes": "classes.html#class-"}
    groups = {group.name for group in book.spec.groups}
    found: list[nodes.Node] = []
    for kind, name in fact.names:
        address = f"{own[kind]}{name}" if kind in own else book.link(name.partition(".")[0]
                                                                      if kind == "structures" else name)
        if kind == "notes" and name in groups:
            address = f"{group_page(name)}.html"
        found.append(link(address, code(name)) if address else code(name))
    return commas(found)

