# SPDX-License-Identifier: BSD-2-Clause
"""The guest as a case sees it: operations to queue, handles to read, expectations to state.

Every method that makes the guest do something queues one operation and returns a handle; reading
any handle sends everything queued as one batch, in order. A case therefore costs one round trip
unless it needs an answer to go on. What is particular to an ABI lives in a subclass.

Registers that a case does not give are poisoned with values that depend on nothing but the seed
and the case's id; none of them is the address of anything mapped.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from abidance import kernel
from abidance.errors import UsageError
from abidance.kernel import Mode, Outcome, Space
from abidance.suite.checks import Checks
from abidance.suite.handles import (
    BytesHandle,
    DoneHandle,
    Handle,
    LogHandle,
    PollHandle,
    PortHandle,
    WordHandle,
)
from abidance.suite.state import StateHandle

if TYPE_CHECKING:
    from abidance.kernel import Hello, LogEntry, Op
    from abidance.platform import Session
    from abidance.spec import Profile, Specification

__all__ = ["Guest"]

NATIVE_RETURN = 0xFFFF
BATCH_BYTES, ANSWER_BYTES = 0x18000, 0x60000
POISON = (0x1000_0000, 0xB000_0000)


class Guest(Checks):
    """One case's view of a session. Make a new one for each case."""

    deadline: float | None = None
    """Seconds that one batch may take; None for the platform's own limit."""
    virtual_time = False
    """Whether guest time is counted in instructions: a wait then needs no reserve for a busy host."""
    poisoned: tuple[str, ...] = ("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi")

    def __init__(self, session: Session, spec: Specification, profile: Profile, *,
                 case: str = "", clauses: tuple[str, ...] = (), seed: int = 0) -> None:
        super().__init__(clauses)
        self.spec, self.profile, self.session = spec, profile, session
        self.rng = random.Random(f"{seed}/{case}")
        self._poison = random.Random(f"{seed}/{case}/poison")
        self._queue: list[tuple[Op, Handle]] = []
        self._queued_bytes = self._answer_bytes = 0

    # -- what is known without asking -----------------------------------------------------------

    @property
    def hello(self) -> Hello:
        """What the test kernel announced at start."""
        return self.session.hello

    @cached_property
    def registers(self) -> tuple[str, ...]:
        """The names of the register table, in the order of the protocol."""
        return self.hello.registers

    def entry_number(self, entry: str | int) -> int:
        """The number of an entry point; UsageError for a name the specification does not have or
        an entry point that is reached otherwise."""
        number = self.spec.entry(entry).number
        if number is None:
            raise UsageError(f"{entry} has no call number")
        return number

    @classmethod
    def discovered(cls, hello: Hello, spec: Specification) -> frozenset[str] | None:  # noqa: ARG003
        """The entry points that the running implementation offers, as the test kernel found them;
        None if the ABI has no way to ask."""
        return None

    def offers(self, entry: str) -> bool:
        """Whether the profile declares this entry point as offered."""
        return entry in self.profile.offers

    def fragment(self, name: str) -> int:
        """The linear address of a fragment of the kernel image ("user.probe")."""
        return self.hello.number(f"fragment.{name}")

    def poison(self) -> int:
        """A value that no register holds by accident and that is the address of nothing mapped."""
        return self._poison.randrange(*POISON) | 1

    # -- calls and transfers --------------------------------------------------------------------

    def call(self, entry: str | int, *, inline: bool = False, native: bool = False,
             eflags: int | None = None, stack: Sequence[int] = (), may_fault: bool = False,
             **regs: int) -> StateHandle:
        """Call an entry point: through its relocation, from a site patched in line as real guests
        do (`inline`), or its native instruction whatever the relocation (`native`)."""
        return self.call_with(regs, entry, inline=inline, native=native, eflags=eflags, stack=stack,
                              may_fault=may_fault)

    def call_with(self, regs: Mapping[str, int], entry: str | int, *, inline: bool = False,
                  native: bool = False, eflags: int | None = None, stack: Sequence[int] = (),
                  may_fault: bool = False) -> StateHandle:
        """`call` with its registers as a mapping."""
        mode = Mode.NATIVE if native else Mode.INLINE if inline else Mode.RELOCATION
        op = kernel.Call(self.entry_number(entry), mode, eflags, self._registers(regs), tuple(stack))
        how = "" if mode is Mode.RELOCATION else f" {mode.name.lower()}"
        text = f"call{how} {self._name(entry)}({_arguments(regs, stack)})"
        return self._state(op, text, (Outcome.RETURNED,), may_fault=may_fault)

    def transfer(self, entry: str | int, *, eip: int, cs: int | None = None, eflags: int | None = None,
                 esp: int | None = None, ss: int | None = None, extra: Sequence[int] = (),
                 mode: Mode = Mode.INLINE, may_fault: bool = False, **regs: int) -> StateHandle:
        """Leave by a call that does not return (IRET, SYSEXIT), from a patched site; "native" is a
        plain iret. What is not given of the frame is the kernel's default (its own CS, flags
        as they are; no ESP and SS). The normal outcome is STOP: control reached the stop trap."""
        return self.transfer_with(regs, entry, eip=eip, cs=cs, eflags=eflags, esp=esp, ss=ss, extra=extra,
                                  mode=mode, may_fault=may_fault)

    def transfer_with(self, regs: Mapping[str, int], entry: str | int, *, eip: int, cs: int | None = None,
                      eflags: int | None = None, esp: int | None = None, ss: int | None = None,
                      extra: Sequence[int] = (), mode: Mode = Mode.INLINE,
                      may_fault: bool = False) -> StateHandle:
        """`transfer` with its registers as a mapping."""
        how = NATIVE_RETURN if entry == "native" else self.entry_number(entry)
        op = kernel.Transfer(how, eip, cs, eflags, esp, ss, self._registers(regs), tuple(extra), mode)
        frame = {"eip": eip, "cs": cs, "eflags": eflags, "esp": esp, "ss": ss}
        shown = {name: value for name, value in frame.items() if value is not None}
        text = f"transfer by {self._name(entry)} to {_arguments(shown, extra)}"
        return self._state(op, text + (f" with {_arguments(regs, ())}" if regs else ""),
                           (Outcome.STOP,), may_fault=may_fault)

    def execute(self, where: str | int, *, eflags: int | None = None, stack: Sequence[int] = (),
                may_fault: bool = False, **regs: int) -> StateHandle:
        """Run kernel-mode code: a fragment by name ("kernel.pushf") or a linear address. The
        normal outcomes are RETURNED and STOP."""
        address = self.fragment(where) if isinstance(where, str) else where
        op = kernel.Execute(address, eflags, self._registers(regs), tuple(stack))
        name = where if isinstance(where, str) else f"code at {where:#010x}"
        return self._state(op, f"execute {name}({_arguments(regs, stack)})",
                           (Outcome.RETURNED, Outcome.STOP), may_fault=may_fault)

    def abi_op(self, number: int, *values: int, name: str, may_fault: bool = False) -> StateHandle:
        """An operation of the ABI's own kernel module (code 0x100 and up)."""
        return self._state(kernel.AbiOp(number, values), f"{name}({', '.join(map(hex, values))})",
                           (Outcome.RETURNED,), may_fault=may_fault)

    # -- memory, ports, interrupts --------------------------------------------------------------

    def read(self, address: int, length: int, *, phys: bool = False, may_fault: bool = False) -> BytesHandle:
        """Read guest memory: linear as the kernel sees it, or physical through its direct map."""
        handle = BytesHandle(self, f"read {length} bytes at {_address(address, phys)}", may_fault=may_fault)
        self._add(kernel.Read(_space(phys), address, length), handle)
        return handle

    def read32(self, address: int, *, phys: bool = False, may_fault: bool = False) -> WordHandle:
        """Read a 32-bit word."""
        handle = WordHandle(self, f"read word at {_address(address, phys)}", may_fault=may_fault)
        self._add(kernel.Read(_space(phys), address, 4), handle)
        return handle

    def write(self, address: int, data: bytes, *, phys: bool = False, may_fault: bool = False) -> DoneHandle:
        """Write guest memory."""
        text = f"write {len(data)} bytes at {_address(address, phys)}"
        handle = DoneHandle(self, text, may_fault=may_fault)
        self._add(kernel.Write(_space(phys), address, bytes(data)), handle)
        return handle

    def write32(self, address: int, value: int, *, phys: bool = False, may_fault: bool = False) -> DoneHandle:
        """Write a 32-bit word."""
        handle = DoneHandle(self, f"write {value:#010x} at {_address(address, phys)}", may_fault=may_fault)
        self._add(kernel.Write(_space(phys), address, value.to_bytes(4, "little")), handle)
        return handle

    def port_in(self, port: int, size: int = 1) -> PortHandle:
        """Read an I/O port; `size` in bytes."""
        handle = PortHandle(self, f"in port {port:#x}")
        self._add(kernel.PortIn(port, size), handle)
        return handle

    def port_out(self, port: int, value: int, size: int = 1) -> DoneHandle:
        """Write an I/O port; `size` in bytes."""
        handle = DoneHandle(self, f"out port {port:#x}, {value:#x}")
        self._add(kernel.PortOut(port, value, size), handle)
        return handle

    def poll(self, port: int, mask: int, value: int, tries: int) -> PollHandle:
        """Read a port until (byte & mask) == value, at most `tries` times."""
        text = f"poll port {port:#x} for {value:#x} under mask {mask:#x}, at most {tries} times"
        handle = PollHandle(self, text)
        self._add(kernel.Poll(port, mask, value, tries), handle)
        return handle

    def set(self, key: int, value: int) -> DoneHandle:
        """Set a switch of the test kernel (`abidance.kernel.Key`)."""
        handle = DoneHandle(self, f"set kernel switch {int(key)} to {value}")
        self._add(kernel.Set(key, value), handle)
        return handle

    def log(self) -> tuple[LogEntry, ...]:
        """The kernel's trap log since it was last read, oldest first."""
        handle = LogHandle(self, "read the trap log")
        self._add(kernel.Log(), handle)
        return handle.entries

    def control(self, command: str, **values: int) -> int:
        """Ask something of the platform (capability-gated; see `Session.control`), after
        everything queued so far."""
        self.flush()
        return self.session.control(command, **values)

    # -- machinery ------------------------------------------------------------------------------

    def flush(self) -> None:
        """Carry out everything queued as one batch. Raises what `Session.exchange` raises, and
        RecordError for an answer that does not fit the batch."""
        if not self._queue:
            return
        queue, self._queue = self._queue, []
        self._queued_bytes = self._answer_bytes = 0
        batch = [op for op, _ in queue]
        payload = self.session.exchange(kernel.encode_batch(batch), deadline=self.deadline)
        answers = kernel.decode_records(payload, batch)
        for answer, (_, handle) in zip(answers, queue, strict=True):
            handle.settle(answer)

    def finish(self) -> None:
        """Carry out what is still queued; an operation that went wrong and was never looked at
        becomes a finding."""
        self.flush()
        for handle in self.handles:
            problem = handle.unseen_problem()
            if problem:
                self.violated(f"{handle.text} ends normally", "no fault", problem)

    def _state(self, op: Op, text: str, normal: tuple[Outcome, ...], *, may_fault: bool) -> StateHandle:
        handle = StateHandle(self, text, self.registers, normal, may_fault=may_fault)
        self._add(op, handle)
        return handle

    def _add(self, op: Op, handle: Handle) -> None:
        sent, answered = len(op.encode()), op.answer_limit
        if self._queued_bytes + sent > BATCH_BYTES or self._answer_bytes + answered > ANSWER_BYTES:
            self.flush()
        self._queue.append((op, handle))
        self.handles.append(handle)
        self._queued_bytes += sent
        self._answer_bytes += answered

    def _registers(self, given: Mapping[str, int]) -> kernel.Registers:
        unknown = [name for name in given if name not in self.registers]
        if unknown:
            raise UsageError(f"no register {unknown[0]!r}; there are {', '.join(self.registers)}")
        values = {name: self.poison() for name in self.poisoned} | dict(given)
        return tuple((self.registers.index(name), value) for name, value in values.items())

    def _name(self, entry: str | int) -> str:
        return entry if isinstance(entry, str) else self.spec.entry(entry).name


def _arguments(regs: Mapping[str, int], stack: Sequence[int]) -> str:
    parts = [f"{name}={value:#x}" for name, value in regs.items()]
    return ", ".join(parts + [f"[{value:#x}]" for value in stack])


def _space(phys: bool) -> Space:
    return Space.PHYSICAL if phys else Space.LINEAR


def _address(address: int, phys: bool) -> str:
    return f"physical {address:#x}" if phys else f"{address:#010x}"
