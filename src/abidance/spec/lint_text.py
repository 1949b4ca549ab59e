# SPDX-License-Identifier: BSD-2-Clause
"""Rules about sentences: their verb, their end, and the names and ids they mention."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator

from abidance.spec.kinds import FactType, Layer, Level
from abidance.spec.lint_folder import Folder, Rule, Spot
from abidance.spec.predicate import Predicate
from abidance.spec.problems import near
from abidance.spec.types import Clause, ProfileKey

__all__ = ["RULES"]

_VERB = re.compile(r"\b(must|should|shall|may)\b(\s+(?:not|neither|never)\b)?", re.IGNORECASE)
_WANTED = {Level.MUST: "must", Level.MUST_NOT: "must not", Level.SHOULD: "should", Level.MAY: "may"}
#: Verbs of another level that a clause must not have. "may" in a MUST is often a limit of it: not reported.
_FOREIGN = {Level.MUST: ("should", "shall"), Level.MUST_NOT: ("should", "shall"),
            Level.SHOULD: ("must", "shall"), Level.MAY: ("must", "should", "shall")}
_VAGUE = re.compile(r"\b(properly|appropriate(?:ly)?|and so on|as expected|somehow|reasonabl[ey])\b|\betc\.")
_DRAFT = re.compile(r"\b(TODO|FIXME|TBD|XXX)\b|\?\?")
_QUOTED = re.compile(r'"[^"]*"')
_CAMEL = re.compile(r"(?<![\w.])[A-Z][A-Za-z0-9]{4,}\b")
_CONSTANT = re.compile(r"(?<![\w.])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
_WORDS = 90
_COMBINATIONS = 4096


def verbs(folder: Folder) -> None:
    """A clause has the verb of its level, and no stronger or weaker one."""
    for clause in folder.clauses():
        said = [" ".join(match[0].lower().replace("neither", "not").replace("never", "not").split())
                for match in _VERB.finditer(_QUOTED.sub("", clause.text))]
        wanted, spot = _WANTED[clause.level], folder.clause(clause, "text")
        fit = [verb for verb in said if verb == wanted or (wanted == "should" and verb == "should not")]
        if not fit:
            folder.report(spot, f"a {clause.level.value} without {wanted!r}",
                          f"say what {wanted}, or mend the level")
        for verb in dict.fromkeys(said):
            if verb.split()[0] in _FOREIGN[clause.level]:
                folder.report(spot, f"{verb!r} in a {clause.level.value}",
                              "make it a clause of its own, or say it without the verb")


def sentences(folder: Folder) -> None:
    """A clause begins with a capital, ends with a full stop, is finished, clear, and of bearable length."""
    for clause in folder.clauses():
        text, spot = clause.text, folder.clause(clause, "text")
        if not text.endswith("."):
            folder.report(spot, f"does not end with a full stop: …{text[-12:]!r}", "end the sentence")
        if text[0].islower():
            folder.report(spot, f"begins with a small letter: {text[:12]!r}…", "begin with a capital")
        if match := _DRAFT.search(text):
            folder.report(spot, f"unfinished: {match[0]!r}", "decide it, or move it to an issue")
        if match := _VAGUE.search(text):
            folder.report(spot, f"{match[0]!r} says nothing that can be tested", "say what is observed")
        if len(text.split()) > _WORDS:
            folder.report(spot, f"{len(text.split())} words", f"split it: a clause has at most {_WORDS}")


def summaries(folder: Folder) -> None:
    """The summary of an entry is a sentence."""
    for entry in folder.spec.entries:
        if not entry.summary.endswith("."):
            folder.report(folder.entry(entry, "summary"), "does not end with a full stop", "end the sentence")


def same_text(folder: Folder) -> None:
    """No two clauses say the same words."""
    taken: dict[str, Clause] = {}
    for clause in folder.clauses():
        key = " ".join(clause.text.casefold().split())
        other = taken.setdefault(key, clause)
        if other is not clause and not clause.stamped:
            folder.report(folder.clause(clause, "text"), f"the same words as {other.id}",
                          "keep one, or name what differs")


def names_in_clauses(folder: Folder) -> None:
    """Calls, constants and clauses that a clause names exist."""
    names = _Names(folder)
    for clause in folder.clauses():
        spot = folder.clause(clause, "text")
        text = _QUOTED.sub("", clause.text)
        for word, known in names.unknown(text):
            folder.report(spot, f"names {word!r}, which is not declared", near(word, known))


def names_in_notes(folder: Folder) -> None:
    """Clauses that a note names exist, and no call is misspelt in one."""
    names = _Names(folder)
    for spot, text in folder.notes():
        for word in names.ids(text):
            folder.report(spot, f"names {word!r}, which is not declared", near(word, names.clauses))
        for match in _CAMEL.finditer(text):
            word = match[0]
            same = [name for name in names.entries if name.casefold() == word.casefold() and name != word]
            if same and word not in names.words:
                folder.report(spot, f"names {word!r}, which is not declared", f"did you mean {same[0]!r}?")


class _Names:
    """The names that texts may use."""

    def __init__(self, folder: Folder) -> None:
        spec = folder.spec
        self.abi = spec.abi
        self.clauses = {clause.id for clause in spec.clauses}
        self.subjects = {f"{spec.abi}.{clause.subject}" for clause in spec.clauses}
        self.entries = {part for entry in spec.entries for part in (entry.name, entry.name.split(".")[-1])}
        self.subjects |= {f"{spec.abi}.{name}" for name in self.entries}
        self.constants = {item.name for item in spec.constants} | {item.name for item in spec.msrs}
        forms = {form for carrier in spec.carriers for form in carrier.forms}
        registers = {item.name for item in spec.registers}
        self.constants |= forms | registers
        self.families = {name.partition("_")[0] for name in self.constants}
        fields = {field.name for item in spec.structures for field in item.fields}
        structures = {item.name for item in spec.structures}
        titles = " ".join([spec.title, spec.summary, *(f"{item.title} {item.doc}" for item in spec.sources)])
        self.words = self.entries | fields | structures | registers | set(re.findall(r"\w+", titles))
        self._prefixed = re.compile(rf"(?<![\w.]){spec.abi.upper()}_[A-Za-z0-9_]+\b")
        self._id = re.compile(rf"(?<![\w.]){spec.abi}\.[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*")

    def ids(self, text: str) -> Iterator[str]:
        """Ids of clauses that do not exist."""
        for match in self._id.finditer(text):
            if match[0] not in self.clauses | self.subjects:
                yield match[0]

    def unknown(self, text: str) -> Iterator[tuple[str, set[str]]]:
        """Words that look like a name and are none, each with the names it could be."""
        for word in self.ids(text):
            yield word, self.clauses
        for match in self._prefixed.finditer(text):
            if match[0].partition("_")[2] not in self.entries and not self.constant(match[0]):
                yield match[0], self.constants | {f"{self.abi.upper()}_{name}" for name in self.entries}
        for match in _CONSTANT.finditer(text):
            family = match[0].partition("_")[0] in self.families
            if family and not match[0].startswith(f"{self.abi.upper()}_") and not self.constant(match[0]):
                yield match[0], self.constants
        for match in _CAMEL.finditer(text):
            word = match[0]
            mixed = any(letter.isupper() for letter in word[1:]) and any(map(str.islower, word))
            plural = word[:-1].isupper() and word[-1] in "sh"  # CPUs, FFFFFFFFh
            if mixed and not plural and word not in self.words:
                yield word, self.entries

    def constant(self, word: str) -> bool:
        """Whether `word` is a constant, or the end of the name of one."""
        return any(name == word or name.endswith(f"_{word}") for name in self.constants)


def predicates(folder: Folder) -> None:
    """A predicate holds for some profile, and not for all."""
    keys = {key.name: key for key in folder.spec.profile_keys}
    for clause in folder.clauses():
        if clause.applies_when is None:
            continue
        outcomes = _outcomes(clause.applies_when, keys)
        spot = folder.clause(clause, "applies_when")
        if outcomes == {False}:
            folder.report(spot, "holds for no profile", "mend it, or remove the clause")
        elif outcomes == {True}:
            folder.report(spot, "holds for every profile", "remove it")


def _outcomes(predicate: Predicate, keys: dict[str, ProfileKey]) -> set[bool]:
    """Every value the predicate can have; both if its keys have too many values to try."""
    ranges: list[list[tuple[str, bool | int | str]]] = []
    for name in sorted(predicate.names):
        key = keys[name]
        values = (True, False) if key.type is FactType.BOOL else key.values
        if not values:
            return {True, False}
        ranges.append([(name, value) for value in values])
    entries = sorted(predicate.entries)
    if math.prod(map(len, ranges)) << len(entries) > _COMBINATIONS:
        return {True, False}
    offered = [chosen for count in range(len(entries) + 1)
               for chosen in itertools.combinations(entries, count)]
    profiles = itertools.product(itertools.product(*ranges), offered)
    return {predicate.evaluate(dict(facts), offers) for facts, offers in profiles}


def evidence(folder: Folder) -> None:
    """A core clause rests on a normative source; nothing is cited twice."""
    normative = {source.tag for source in folder.spec.sources if source.normative}
    for clause in folder.clauses():
        spot: Spot = folder.clause(clause, "evidence")
        if clause.layer is Layer.CORE and not normative & {item.source for item in clause.evidence}:
            tags = ", ".join(dict.fromkeys(item.source for item in clause.evidence))
            wanted = " or ".join(sorted(normative)) or "a normative source"
            folder.report(spot, f"a core clause that rests on {tags} only",
                          f"cite {wanted}, or say layer: practice")
        for index, item in enumerate(clause.evidence):
            if item in clause.evidence[:index]:
                folder.report(folder.clause(clause, "evidence", index), f"{item} twice", "remove one")


RULES: tuple[Rule, ...] = (verbs, sentences, summaries, same_text, names_in_clauses, names_in_notes,
                           predicates, evidence)
