# SPDX-License-Identifier: BSD-2-Clause
"""Clauses as written become clauses as loaded: evidence, predicate, and the rule of layers.

The rule: a MUST or MUST NOT that binds implementations and claims layer core needs evidence from a
normative source. Without it, what one guest happens to do would become everybody's duty.
"""

from __future__ import annotations

from abidance.errors import Place, SpecError
from abidance.spec.kinds import Binds, FactType, Layer, Level
from abidance.spec.parts import Evidence
from abidance.spec.predicate import And, Compare, Fact, Literal, Member, Not, Offers, Operand, Or, Predicate, tokens
from abidance.spec.problems import Path, near
from abidance.spec.schema import ClauseDoc, TemplateDoc
from abidance.spec.scope import File, Scope
from abidance.spec.types import Clause

__all__ = ["make_clause", "paragraphs"]


def paragraphs(text: str) -> str:
    """`text` with white space inside paragraphs as single blanks, and one empty line between them."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n") if part.strip())


def make_clause(
    doc: ClauseDoc | TemplateDoc,
    subject: str,
    slug: str,
    group: str,
    scope: Scope,
    file: File,
    path: Path,
    *,
    entry: str | None,
    text: str | None = None,
) -> Clause:
    """The clause ``<abi>.<subject>.<slug>`` that `doc` states; problems are reported at `path` in `file`.

    `text` replaces that of `doc`, which a template has filled in.
    """
    evidence = scope.evidence(doc.evidence, file, (*path, "evidence"))
    _check_layer(doc, evidence, scope, file, path)
    return Clause(
        id=f"{scope.abi}.{subject}.{slug}",
        rev=doc.rev,
        level=doc.level,
        binds=doc.binds,
        layer=doc.layer,
        evidence=evidence,
        applies_when=_predicate(doc.applies_when, scope, file, (*path, "applies_when")),
        text=paragraphs(text if text is not None else doc.text),
        group=group,
        subject=subject,
        entry=entry,
        stamped=isinstance(doc, TemplateDoc),
        since=doc.since,
    )


def _check_layer(
    doc: ClauseDoc | TemplateDoc, evidence: tuple[Evidence, ...], scope: Scope, file: File, path: Path
) -> None:
    duty = doc.level in (Level.MUST, Level.MUST_NOT) and doc.binds is Binds.IMPLEMENTATION
    if not duty or doc.layer is not Layer.CORE or len(evidence) < len(doc.evidence):
        return
    if any(scope.sources[item.source].normative for item in evidence):
        return
    normative = " or ".join(tag for tag, source in scope.sources.items() if source.normative)
    mend = f"cite {normative}, or say layer: practice" if normative else "mark a source in abi.yaml normative: true"
    file.report((*path, "evidence"), f"a core {doc.level.value} on implementations without normative evidence", mend)


def _predicate(text: str | None, scope: Scope, file: File, path: Path) -> Predicate | None:
    if text is None:
        return None
    begin = file.begin(path)
    try:
        predicate = Predicate.parse(text, begin)
    except SpecError as error:
        file.problems.add(error.place, path, error.problem, error.mend)
        return None
    _Checker(text, begin, scope, file, path).truth(predicate.tree)
    return predicate


class _Checker:
    """Names and types of a predicate, against the profile keys and entries of the specification."""

    def __init__(self, text: str, begin: Place, scope: Scope, file: File, path: Path) -> None:
        self.begin, self.scope, self.file, self.path = begin, scope, file, path
        self.columns = {token.text.strip("'\""): token.column for token in reversed(tokens(text, begin))}

    def report(self, word: str, problem: str, mend: str) -> None:
        begin = self.begin
        place = Place(begin.file, begin.line, begin.column + self.columns.get(word, 0))
        self.file.problems.add(place, self.path, problem, mend)

    def type_of(self, item: Operand) -> FactType | None:
        if isinstance(item, Literal):
            return _literal_type(item.value)
        if not isinstance(item, Fact):
            self.truth(item)
            return FactType.BOOL
        key = self.scope.keys.get(item.name)
        if key is None:
            self.report(item.name, f"unknown profile key {item.name!r}", near(item.name, self.scope.keys))
            return None
        return key.type

    def truth(self, item: Operand) -> None:
        if isinstance(item, (And, Or)):
            for inner in item.items:
                self.truth(inner)
        elif isinstance(item, Not):
            self.truth(item.item)
        elif isinstance(item, Compare):
            self.compare(item.left, item.right, item.op)
        elif isinstance(item, Member):
            for value in item.values:
                self.compare(item.item, Literal(value), "==")
        elif isinstance(item, Offers):
            if item.entry not in self.scope.entries:
                mend = near(item.entry, self.scope.entries)
                self.report(item.entry, f"unknown entry point {item.entry!r}", mend)
        elif self.type_of(item) not in (FactType.BOOL, None):
            word = item.name if isinstance(item, Fact) else str(item.value)
            self.report(word, f"{word!r} is not true or false", "compare it with a value")

    def compare(self, left: Operand, right: Operand, op: str) -> None:
        kinds = self.type_of(left), self.type_of(right)
        if None in kinds:
            return
        word = left.name if isinstance(left, Fact) else ""
        if kinds[0] is not kinds[1]:
            problem = f"compares {kinds[0].value if kinds[0] else ''} with {kinds[1].value if kinds[1] else ''}"
            self.report(word, problem, "compare values of one type; text is quoted: 'shadow'")
        elif op not in ("==", "!=") and kinds[0] is not FactType.INT:
            self.report(word, f"{op} between values that have no order", "use == or !=")
        elif isinstance(left, Fact) and isinstance(right, Literal):
            self.allowed(left.name, right)

    def allowed(self, name: str, literal: Literal) -> None:
        values = self.scope.keys[name].values
        if values and not isinstance(literal.value, bool) and literal.value not in values:
            mend = near(str(literal.value), [str(value) for value in values])
            self.report(str(literal.value), f"{literal.value!r} is not a value of {name!r}", mend)


def _literal_type(value: bool | int | str) -> FactType:
    if isinstance(value, bool):
        return FactType.BOOL
    return FactType.INT if isinstance(value, int) else FactType.STR
