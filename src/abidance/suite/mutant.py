# SPDX-License-Identifier: BSD-2-Clause
"""How a mutant is declared: a named defect, tied to the clause it violates.

    @mutant("SetCR3-keeps-base", violates="vmi.SetCR3.loads-base")
    def _(hv: Hypervisor) -> None:
        '''SetCR3 reports success and goes on with the old page directory.'''
        hv.set_cr3 = lambda value: None

A mutant of an implementation in Python changes a freshly made one, in the process that runs it;
a mutant of a ROM is another image. A suite that does not kill a mutant with the cases of the
clause it violates has not proven that clause.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from abidance.errors import InputError, Place

__all__ = ["Mutant", "declared_mutants", "mutant", "rom_mutant"]

Change = Callable[[Any], None]
ChangeT = TypeVar("ChangeT", bound=Change)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Mutant:
    """One defect. Either `change` (applied to the implementation) or `rom` (the image to use, as
    `abidance.kernel.built` names it) is set. `violates` is an exact clause id; `on` names the
    implementation; `equivalent` says why no case can tell it from the original (a survivor
    explained), empty for all others."""

    name: str
    violates: str
    on: str
    summary: str
    place: Place
    change: Change | None = None
    rom: str | None = None
    equivalent: str = ""


_declared: dict[str, list[Mutant]] = {}


def mutant(name: str, *, violates: str, on: str = "reference",
           equivalent: str = "") -> Callable[[ChangeT], ChangeT]:
    """Declare a mutant of an implementation in Python: the function changes a fresh one. Its
    docstring says in one line what is wrong."""
    def declare(change: ChangeT) -> ChangeT:
        place = Place(change.__code__.co_filename, change.__code__.co_firstlineno, 1)
        summary = (inspect.getdoc(change) or "").partition("\n")[0]
        made = Mutant(name, violates, on, summary, place, change=change, equivalent=equivalent)
        _add(change.__module__, made)
        return change
    return declare


def rom_mutant(name: str, *, violates: str, rom: str, summary: str, on: str = "native",
               equivalent: str = "") -> None:
    """Declare a mutant that is another image of a ROM ("mutants/cli-does-nothing.rom")."""
    frame = inspect.stack()[1]
    place = Place(frame.filename, frame.lineno, 1)
    module = frame.frame.f_globals.get("__name__", "")
    _add(module, Mutant(name, violates, on, summary, place, rom=rom, equivalent=equivalent))


def declared_mutants(module: str) -> tuple[Mutant, ...]:
    """The mutants a module declared, in order."""
    return tuple(_declared.get(module, ()))


def _add(module: str, made: Mutant) -> None:
    if not NAME.fullmatch(made.name):
        raise InputError(made.place, made.name, "a mutant's name is letters, digits, dots and dashes",
                         mend="choose another name")
    if not made.summary:
        raise InputError(made.place, made.name, "no summary", mend="say in one line what is wrong with it")
    _declared.setdefault(module, []).append(made)
