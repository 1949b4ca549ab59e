# SPDX-License-Identifier: BSD-2-Clause
"""A model that has been booted once and stands at its start again, for forked workers to go on with.

Translating the guest's code takes longer than running it. A process that has booted a model keeps
the translations, and so does every worker that is forked from it: it renews the model (see
`abidance.platform.model.Renew`) and boots in half the time, and its first cases are as quick as
the later ones. What a guest can observe is the same as in a model made from nothing.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path

from abidance.errors import UsageError
from abidance.platform import mailbox, messages
from abidance.platform.base import Artifact, Machine
from abidance.platform.mailbox import Mailbox
from abidance.platform.model import DOORBELL, LATE, Factory, Model, Reason, Renew

__all__ = ["Warm", "find", "kind_of", "machine_of", "warm_up"]


@dataclass(frozen=True)
class Warm:
    """`model` stands at its start; `kind` says for which machines it can be renewed."""

    kind: Machine
    model: Model
    renew: Renew

    def take(self, machine: Machine) -> Model | None:
        """The model made into `machine`, None if it cannot be. Once per process."""
        if kind_of(machine) != self.kind:
            return None
        self.renew(self.model, machine)
        return self.model


def machine_of(boot: messages.Boot) -> Machine:
    """The machine that a request describes."""
    artifacts = tuple(Artifact(role, Path(path), digest) for role, path, digest in boot.artifacts)
    return Machine(artifacts, boot.cpus, boot.memory, boot.factory, boot.options)


def kind_of(machine: Machine) -> Machine:
    """The machine without the options that can be put into effect late."""
    return replace(machine, options=tuple(pair for pair in machine.options if pair[0] not in LATE))


def find(name: str) -> tuple[Factory, Renew | None]:
    """The factory called "package.module:name", and how its models are renewed. Raises UsageError."""
    module, _, attribute = name.partition(":")
    try:
        home = importlib.import_module(module)
        made: Factory = getattr(home, attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"there is no model {name!r}: {error}") from error
    return made, getattr(home, "renew", None)


def warm_up(boot: messages.Boot) -> Warm | None:
    """Boot the machine of a request, without its late options, and go back to the start. None if its
    models cannot be renewed or this guest does not come to its HELLO: then every worker tries for itself."""
    factory, renew = find(boot.factory)
    if renew is None:
        return None
    kind = kind_of(machine_of(boot))
    cmdline = mailbox.command_line(0, DOORBELL)
    model = factory(replace(kind, options=(*kind.options, ("cmdline", cmdline))), DOORBELL)
    start = model.snapshot()
    box = Mailbox(model.ram)
    if model.run(boot.budget).reason is not Reason.DOORBELL or not box.greeted():
        return None
    box.close()
    model.restore(start)
    return Warm(kind, model, renew)
