# SPDX-License-Identifier: BSD-2-Clause
"""The kernel with option ROMs that break every rule: it still says hello, answers and survives."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from abidance.kernel import AbiOp, Call, Echo, Execute, Log, Mode, Outcome, State, Transfer

EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, EIP, EFLAGS, CS, SS, DS, ES, FS, GS = range(16)
ROOT = Path(__file__).resolve().parents[2]
PAGE_FAULT_FRAGMENT = "kernel.load"

# INIT, RELOC, BODY and LEAVE are the whole behaviour of such a ROM; every call but 33 and 34 runs BODY.
SOURCE = """
        .text
        .globl  _start
_start: .byte   0x55, 0xAA, 0
        lret
        .org    8
        .ascii  "cVmi"
        .byte   0, {major}, 0, 0
        .long   0
        .word   0, {licence}, {pci}, 0
        .org    0x80
        jmp     init
        .org    0x88
        jmp     reloc
        .org    0xA0
licence: .asciz "GPL"
other:  .asciz  "proprietary"
        .balign 4
pci:    .ascii  "PCIR"
        .zero   20
init:   {init}
reloc:  {reloc}
body:   {body}
leave:  {leave}
"""
RELOC = """
        call    1f
1:      popl    %ecx
        movl    $1, %edx
        cmpl    $33, %eax
        je      2f
        leal    body - 1b(%ecx), %eax
        ret
2:      leal    leave - 1b(%ecx), %eax
        ret
"""
SCRIPT = "SECTIONS { . = 0; .text : { *(.text) } /DISCARD/ : { *(.comment) *(.note*) } }\n"
TABLE = '[[artifact]]\nname = "x.rom"\nkind = "rom"\nsources = ["x.S"]\nlinker = "x.ld"\n'
DROP_AND_IRET = "addl $4, %esp; iret"


@pytest.fixture
def boot(start, tmp_path: Path) -> Callable[..., object]:
    """Boot with a ROM of the given behaviour."""
    spec = importlib.util.spec_from_file_location("hatch_build_for_roms", ROOT / "hatch_build.py")
    assert spec
    assert spec.loader
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)

    def begin(**behaviour: object) -> object:
        parts = {"major": 3, "licence": "licence - _start", "pci": "pci - _start",
                 "init": "xorl %eax, %eax; ret", "reloc": RELOC, "body": "ret",
                 "leave": DROP_AND_IRET, **behaviour}
        folder = tmp_path / "checkout/src/abidance/abi/x/roms"
        folder.mkdir(parents=True)
        (folder / "x.S").write_text(SOURCE.format(**parts))
        (folder / "x.ld").write_text(SCRIPT)
        (folder / "build.toml").write_text(TABLE)
        builder.build_all(tmp_path / "checkout")
        rom = tmp_path / "checkout/src/abidance/_built/x/x.rom"
        return start("-option-rom", str(rom))

    return begin


def verdict(bench) -> str:
    (found,) = [bench.hello.text(f"rom.{i}.verdict") for i in range(bench.hello.number("rom.count"))
                if bench.hello.text(f"rom.{i}.verdict") != "not-vmi"]
    return found


def alive(bench) -> bool:
    echo, state = bench.run(Echo((5,)), Execute(bench.hello.fragments["kernel.ret"]))
    return echo.values == (5,) and state.outcome is Outcome.RETURNED


@pytest.mark.parametrize(("change", "expected"), [
    ({"major": 4}, "api-version"), ({"pci": 0}, "no-pci-header"), ({"licence": 0}, "licence"),
    ({"licence": "other - _start"}, "licence")])
def test_a_rom_that_no_guest_would_take(boot, change: dict[str, object], expected: str) -> None:
    bench = boot(**change, init="ud2")
    assert verdict(bench) == expected
    assert "init.outcome" not in bench.hello
    assert bench.hello.number("abi.active") == 0


@pytest.mark.parametrize(("init", "outcome", "vector"), [
    ("movl $-1, %eax; ret", Outcome.RETURNED, 0),
    ("ud2", Outcome.FAULT, 6),
    ("movl 0xFFFFF000, %eax; ret", Outcome.FAULT, 14),
    ("int $0x81", Outcome.STOP, 0x81),
    ("xorl %esp, %esp; ret", Outcome.FAULT, 8),
    ("xorl %esp, %esp; ud2", Outcome.FAULT, 8),
    ("1: pushl %eax; jmp 1b", Outcome.FAULT, 8),
])
def test_init_that_fails_leaves_a_native_kernel(boot, init: str, outcome: Outcome, vector: int) -> None:
    bench = boot(init=init)
    assert verdict(bench) == "accepted"
    assert bench.hello.number("abi.active") == 0
    assert (bench.hello.number("init.outcome"), bench.hello.number("init.vector")) == (outcome, vector)
    assert bench.run(Call(21))[0].after[EAX] == bench.hello.number("kernel.cr3")
    assert alive(bench)


def test_relocations_that_fault_count_as_none(boot) -> None:
    bench = boot(reloc="ud2")
    assert bench.hello.number("abi.active") == 1
    assert bench.hello.number("reloc.17.outcome") == Outcome.FAULT
    assert "reloc.17" not in bench.hello
    (state,) = bench.run(AbiOp(0x100, (17, 0)))
    assert (state.outcome, state.vector) == (Outcome.FAULT, 6)
    assert alive(bench)


@pytest.mark.parametrize(("body", "outcome", "vector"), [
    ("ud2", Outcome.FAULT, 6),
    ("int $0x81", Outcome.STOP, 0x81),
    ("xorl %esp, %esp; ud2", Outcome.FAULT, 8),
    ("1: pushl %eax; jmp 1b", Outcome.FAULT, 8),
    ("movl 0xFFFFF000, %eax", Outcome.FAULT, 14),
])
def test_every_call_ends_badly(boot, body: str, outcome: Outcome, vector: int) -> None:
    """The kernel's own questions to the ABI (interrupt mask, CR2) end as badly as the host's."""
    bench = boot(body=body)
    for mode in (Mode.RELOCATION, Mode.INLINE):
        (state,) = bench.run(Call(17, mode=mode))
        assert (state.outcome, state.vector) == (outcome, vector)
        assert state.mask_after is None
    (state,) = bench.run(Execute(bench.hello.fragments[PAGE_FAULT_FRAGMENT], registers=((EAX, 0),)))
    assert (state.outcome, state.vector, state.error) == (Outcome.FAULT, 14, 0)
    assert any(entry.nested for entry in bench.run(Log())[0].entries)
    assert alive(bench)


@pytest.mark.parametrize(("body", "register"), [
    ("movl $1, %ebx; ret", EBX), ("movl $1, %esi; ret", ESI), ("movl $1, %edi; ret", EDI),
    ("movl $1, %ebp; ret", EBP), ("ret $8", ESP), ("popl %ecx; pushl %eax; jmp *%ecx", ESP),
    ("movl $0, %ecx; movl %ecx, %ds; movl %ecx, %es; ret", DS), ("pushl $0; popl %fs; ret", FS)])
def test_registers_that_are_spoilt_are_reported_and_do_no_harm(boot, body: str, register: int) -> None:
    bench = boot(body=body)
    (state,) = bench.run(Call(17))
    assert isinstance(state, State)
    assert state.outcome is Outcome.RETURNED
    assert state.after[register] != state.before[register]
    spared = {EBX, ESP, EBP, ESI, EDI, SS, FS, GS} - {register}
    assert all(state.after[i] == state.before[i] for i in spared)
    assert alive(bench)


def test_flags_and_stack_that_are_spoilt(boot) -> None:
    bench = boot(body="std; movl $7, 12(%esp); movl $7, 200(%esp); ret")
    (state,) = bench.run(Call(17))
    assert state.outcome is Outcome.RETURNED
    assert state.after[EFLAGS] & 0x400
    assert state.canary_bad == 2
    assert alive(bench)


@pytest.mark.parametrize(("kind", "leave"), [(1, DROP_AND_IRET), (2, "iret")])
def test_the_way_to_user_mode_by_call_and_by_jump(boot, kind: int, leave: str) -> None:
    reloc = RELOC.replace("2:", f"2: movl ${kind}, %edx;")
    bench = boot(reloc=reloc, leave=leave)
    assert bench.hello.number("reloc.33") >> 32 == kind
    stack = bench.hello.number("user.stack")
    (state,) = bench.run(Transfer(33, bench.hello.fragments["user.stop"], sp=stack))
    assert (state.outcome, state.target_kind) == (Outcome.STOP, kind)
    assert state.target == bench.hello.number("reloc.33") & 0xFFFF_FFFF


@pytest.mark.parametrize(("kind", "outcome"), [
    (0, Outcome.RETURNED), (1, Outcome.RETURNED), (2, Outcome.NOT_CALLABLE), (3, Outcome.RETURNED),
    (4, Outcome.NOT_CALLABLE), (255, Outcome.NOT_CALLABLE)])
def test_relocation_types(boot, kind: int, outcome: Outcome) -> None:
    bench = boot(reloc=RELOC.replace("movl    $1, %edx", f"movl ${kind}, %edx"), body="movl $99, %eax; ret",
                 leave="iret" if kind == 2 else DROP_AND_IRET)
    related, in_line, native = bench.run(Call(21), Call(21, mode=Mode.INLINE), Call(21, mode=Mode.NATIVE))
    assert related.outcome is in_line.outcome is outcome
    assert related.target_kind == kind
    assert native.after[EAX] == bench.hello.number("kernel.cr3")
    if kind == 1:
        assert related.after[EAX] == in_line.after[EAX] == 99
    if kind == 3:
        assert related.after[:8] == related.before[:8]
    assert alive(bench)
