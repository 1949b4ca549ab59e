# SPDX-License-Identifier: BSD-2-Clause
"""Clauses as written become clauses as loaded: evidence, predicate, and the rule of layers.

The rule: a MUST or MUST NOT that binds implementations and claims layer core needs evidence from a
normative source. Without it, what one guest happens to do would become everybody's duty.
"""

from __future__ import annotations

from abidance.errors import SpecError
from abidance.spec.kinds import Binds, Layer, Level
from abidance.spec.parts import Evidence
from abidance.spec.predicate import Predicate
from abidance.spec.predicate_check import check_predicate
from abidance.spec.problems import Path
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
    mend = f"cite {normative}, or say layer: practice" if normative else "mark a source normative: true"
    problem = f"a core {doc.level.value} on implementations without normative evidence"
    file.report((*path, "evidence"), problem, mend)


def _predicate(text: str | None, scope: Scope, file: File, path: Path) -> Predicate | None:
    if text is None:
        return None
    begin = file.begin(path)
    try:
        predicate = Predicate.parse(text, begin)
    except SpecError as error:
        file.problems.add(error.place, path, error.problem, error.mend)
        return None
    check_predicate(predicate, text, begin, scope, file, path)
    return predicate
