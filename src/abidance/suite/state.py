# SPDX-License-Identifier: BSD-2-Clause
"""The handle of an operation that runs guest code: a call, a transfer, a fragment.

Reading a register of an operation that did not end normally records a finding and ends the case,
unless the case asked how it ended first or queued it with `may_fault=True`.
"""

from __future__ import annotations

from collections.abc import Sequence

from abidance.errors import RecordError
from abidance.kernel import Answer, Outcome, State
from abidance.suite.handles import Handle, Owner, vector_name

__all__ = ["Registers", "StateHandle"]

PAGE_FAULT = 14


class Registers:
    """One side of a State: `.eax`, `["eax"]`; values are integers of the guest's word size."""

    def __init__(self, names: Sequence[str], values: Sequence[int]) -> None:
        self._values = dict(zip(names, values, strict=True))

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def __getattr__(self, name: str) -> int:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no register {name!r}; there are {', '.join(self._values)}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._values


class StateHandle(Handle):
    """What a call, transfer or executed fragment left behind.

    `before` and `after` are `Registers`; a register read straight from the handle (`.eax`) is the
    one after. For outcome STOP, `after` describes the context that reached the stop trap.
    """

    def __init__(self, owner: Owner, text: str, names: Sequence[str], normal: tuple[Outcome, ...], *,
                 may_fault: bool = False) -> None:
        super().__init__(owner, text, may_fault=may_fault)
        self._names, self._normal = names, normal

    @property
    def state(self) -> State:
        """The whole record, without any check."""
        answer = self.answer
        if not isinstance(answer, State):
            raise RecordError(f"the answer to {self._text} holds no state")
        return answer

    @property
    def outcome(self) -> Outcome:
        """RETURNED, FAULT, STOP or NOT_CALLABLE; asking makes it the case's business."""
        self._looked = True
        return self.state.outcome

    @property
    def returned(self) -> bool:
        """Whether it came back to its call site."""
        return self.outcome is Outcome.RETURNED

    @property
    def faulted(self) -> bool:
        """Whether it ended in a fault."""
        return self.outcome is Outcome.FAULT

    @property
    def stopped(self) -> bool:
        """Whether it reached the stop trap."""
        return self.outcome is Outcome.STOP

    @property
    def vector(self) -> int | None:
        """The vector of the fault, None if there was none; asking makes a fault the case's business."""
        return self.state.vector if self.faulted else None

    @property
    def error(self) -> int:
        """The error code of the fault (0 where the vector has none)."""
        return self._fault_state().error

    @property
    def fault_eip(self) -> int:
        """EIP in the frame of the fault."""
        return self._fault_state().fault_eip

    @property
    def fault_cs(self) -> int:
        """CS in the frame of the fault."""
        return self._fault_state().fault_cs

    @property
    def fault_eflags(self) -> int:
        """EFLAGS in the frame of the fault."""
        return self._fault_state().fault_eflags

    @property
    def cr2(self) -> int:
        """CR2 as the handler of the fault read it."""
        return self._fault_state().cr2

    @property
    def before(self) -> Registers:
        """The registers as they were loaded."""
        return Registers(self._names, self.state.before)

    @property
    def after(self) -> Registers:
        """The registers afterwards; a finding if it did not end normally and nobody looked."""
        self._insist()
        return Registers(self._names, self.state.after)

    @property
    def irqs(self) -> int:
        """How many interrupts the kernel logged meanwhile."""
        return self.state.irqs

    @property
    def site(self) -> int:
        """The linear address of the call or jump instruction it was made from."""
        return self.state.site

    @property
    def canary_bad(self) -> bool:
        """Whether the words above the arguments were changed."""
        return bool(self.state.canary_bad)

    @property
    def mask_after(self) -> int | None:
        """What the kernel read as interrupt mask directly afterwards (bit 9); None if it cannot."""
        return self.state.mask_after

    @property
    def target(self) -> int:
        """The address that was called (0 for a native instruction)."""
        return self.state.target

    @property
    def target_kind(self) -> int:
        """The relocation type by which it was reached."""
        return self.state.target_kind

    def check(self) -> None:
        """Carry it out now; a finding if it did not end normally."""
        self._insist()

    def changed(self, *names: str) -> tuple[str, ...]:
        """Which of these registers differ from what was loaded."""
        before, after = self.before, self.after
        return tuple(name for name in names if before[name] != after[name])

    def preserved(self, *names: str) -> bool:
        """Whether all of these registers hold what was loaded."""
        return not self.changed(*names)

    def __getattr__(self, name: str) -> int:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"a state has no {name!r}; the registers are {', '.join(self._names)}")
        return self.after[name]

    def _fault_state(self) -> State:
        self._looked = True
        if self.state.outcome is not Outcome.FAULT:
            self._owner.violated(f"{self._text} faults", "a fault", self.ended)
        return self.state

    def _insist(self) -> None:
        problem = None if self._looked else self._problem(self.state)
        if problem:
            self._owner.violated(f"{self._text} ends normally", self._normally(), problem)

    def _normally(self) -> str:
        names = {Outcome.RETURNED: "a return to the caller", Outcome.STOP: "control at the stop trap"}
        return " or ".join(names[outcome] for outcome in self._normal)

    def _problem(self, answer: Answer) -> str | None:
        if not isinstance(answer, State) or answer.outcome in self._normal:
            return None
        if answer.outcome is Outcome.FAULT:
            return f"did not return: {_describe(answer)}"
        if answer.outcome is Outcome.NOT_CALLABLE:
            return f"cannot be called: relocation type {answer.target_kind}"
        return "returned to its caller" if answer.outcome is Outcome.RETURNED else "reached the stop trap"

    def _ended(self, answer: Answer) -> str:
        if not isinstance(answer, State):
            return super()._ended(answer)
        if answer.outcome is Outcome.FAULT:
            return _describe(answer)
        text = self._problem(answer) or answer.outcome.name.lower()
        if answer.outcome is Outcome.NOT_CALLABLE:
            return text
        values = dict(zip(self._names, answer.after, strict=False))
        return " ".join([text, *(f"{name}={values[name]:#x}" for name in self._names[:3] if name in values)])


def _describe(state: State) -> str:
    """A fault that ended a call: vector, error code, where, and CR2 of a page fault."""
    text = (f"fault {vector_name(state.vector)} at {state.fault_cs:#x}:{state.fault_eip:#010x}, "
            f"error {state.error:#x}")
    return f"{text}, cr2 {state.cr2:#010x}" if state.vector == PAGE_FAULT else text
