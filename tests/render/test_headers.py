# SPDX-License-Identifier: BSD-2-Clause
"""The headers: what compilers say of them, and that what they hold is what the specification says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from abidance.abi import find_abi
from abidance.cli.main import main
from abidance.errors import UsageError
from abidance.render import c_header, rust
from abidance.spec import Specification, load

STRICT = ["-ffreestanding", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
EXAMPLES = Path(__file__).parent.parent / "spec" / "data"


def specification(name: str) -> Specification:
    return find_abi("vmi").spec if name == "vmi" else load(EXAMPLES / name)


def tool(name: str, remedy: str) -> str:
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed; to get it: {remedy}")
        pytest.skip(f"{name} is not installed; to get it: {remedy}")
    return found


def compiled(command: list[str], text: bytes, suffix: str, into: Path) -> str:
    path = into / f"header{suffix}"
    path.write_bytes(text)
    done = subprocess.run([*command, str(path)], cwd=into, capture_output=True, text=True, timeout=120,
                          check=False)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("name", ["vmi", "sbi", "pvx", "tidy"])
@pytest.mark.parametrize("language", [["-m32", "-x", "c", "-std=c11"], ["-m64", "-x", "c", "-std=c11"],
                                      ["-m32", "-x", "c++", "-std=c++17"]], ids=["c32", "c64", "cxx"])
def test_c_compiles(name: str, language: list[str], tmp_path: Path) -> None:
    gcc = tool("gcc", "apt-get install gcc")
    text = c_header.encode(specification(name))
    assert compiled([gcc, *language, *STRICT], text, ".h", tmp_path) == ""


@pytest.mark.parametrize("name", ["vmi", "sbi", "pvx", "tidy"])
def test_rust_compiles(name: str, tmp_path: Path) -> None:
    rustc = tool("rustc", "https://rustup.rs")
    text = rust.encode(specification(name))
    command = [rustc, "--crate-type", "lib", "--crate-name", name, "-D", "warnings", "--emit=metadata"]
    assert compiled(command, text, ".rs", tmp_path) == ""


def test_an_offset_that_is_wrong_does_not_compile(tmp_path: Path) -> None:
    gcc = tool("gcc", "apt-get install gcc")
    text = c_header.encode(find_abi("vmi").spec)
    wrong = text.replace(b"uint16_t rom_signature;", b"uint32_t rom_signature;")
    assert wrong != text
    seen = compiled([gcc, "-x", "c", "-std=c11", *STRICT], wrong, ".h", tmp_path)
    assert "size of vmi_rom_header" in seen
    assert "offset of vmi_rom_header.virtual_top" in seen


def test_a_guest_can_call_and_a_hypervisor_can_dispatch(tmp_path: Path) -> None:
    gcc = tool("gcc", "apt-get install gcc")
    text = c_header.encode(find_abi("vmi").spec) + b"""
static vmi_SetPxE_fn *set_pxe;
static vmi_SetAlarm_fn *set_alarm;
static vmi_GetCycleFrequency_fn *frequency;
uint64_t guest(uint32_t *entry);
uint64_t guest(uint32_t *entry)
{
    set_pxe(0x1067u, (uint32_t)entry, VMI_PAGE_PT | VMI_PAGE_DEFER);
    set_alarm(VMI_ALARM_IS_PERIODIC, 1ull << 40, 7);
    return frequency();
}
#define NAME(number, name) [number] = #name,
const char *const names[VMI_CALL_COUNT] = { VMI_CALLS(NAME) };
_Static_assert(sizeof(names) / sizeof(names[0]) == 74, "every call");
_Static_assert(VMI_CALL_SetPxE == 38, "a number");
"""
    assert compiled([gcc, "-m32", "-x", "c", "-std=c11", *STRICT], text, ".c", tmp_path) == ""


def test_arguments_go_where_the_specification_says(tmp_path: Path) -> None:
    """The compiler's own code for a call through the type, against the places in the data."""
    gcc = tool("gcc", "apt-get install gcc")
    text = c_header.encode(find_abi("vmi").spec) + b"""
void call(vmi_SetPxELong_fn *entry);
void call(vmi_SetPxELong_fn *entry) { entry(0x1111111122222222ull, 0x33333333u, 0x44444444u); }
"""
    path = tmp_path / "call.c"
    path.write_bytes(text)
    code = subprocess.run([gcc, "-m32", "-std=c11", "-ffreestanding", "-O2", "-fno-pic", "-S", "-o", "-",
                           str(path)], capture_output=True, text=True, timeout=60, check=True).stdout
    operands = {item.name: item.where for item in find_abi("vmi").spec.entry("SetPxELong").inputs}
    assert operands == {"value": "EDX:EAX", "ptep": "ECX", "flags": "stack+4"}
    for value, register in ((0x22222222, "%eax"), (0x11111111, "%edx"), (0x33333333, "%ecx")):
        assert re.search(rf"movl\s+\${value}, {register}", code)
    assert re.search(rf"pushl\s+\${0x44444444}|movl\s+\${0x44444444}, \(%esp\)", code)


@pytest.mark.parametrize("encode", [c_header.encode, rust.encode])
def test_everything_is_in_it(encode: object) -> None:
    spec = find_abi("vmi").spec
    assert callable(encode)
    text = encode(spec).decode()
    assert text.startswith(("/* SPDX-License-Identifier: BSD-2-Clause */",
                            "// SPDX-License-Identifier: BSD-2-Clause"))
    assert spec.digest in text
    assert "not virtual machine introspection" in " ".join(text.replace("*", "").replace("//!", "").split())
    for entry in spec.entries:
        assert entry.name in text
    for clause in spec.clauses:
        if clause.entry and not clause.stamped and clause.subject == clause.entry:
            assert clause.id in text
    for item in spec.constants:
        assert re.search(rf"\bVMI_{item.name.removeprefix('VMI_')}\b", text)


def test_what_c_cannot_call_is_said() -> None:
    text = c_header.encode(find_abi("vmi").spec).decode()
    assert "vmi_IRET_fn" not in text
    assert "Not a C function: eip is in frame+0, where C would pass it in EAX." in text
    assert "Not a C function: msr is in ECX, where C would pass it in EAX." in text
    assert "typedef VMI_ENTRY uint64_t vmi_GetRelocationInfo_fn(uint32_t call);" in text
    assert text.count("Not a C function") + text.count("_fn(") + 3 == len(find_abi("vmi").spec.entries)


def test_two_things_of_one_name_are_refused(tmp_path: Path) -> None:
    made = tmp_path / "tidy"
    shutil.copytree(EXAMPLES / "tidy", made)
    text = (made / "calls.yaml").read_text()
    (made / "calls.yaml").write_text(text.replace("constants:\n", "constants:\n  CALL_Ping: 3\n"))
    with pytest.raises(UsageError, match="TOY_CALL_Ping"):
        c_header.encode(load(made))


def test_texts_cannot_leave_their_comment() -> None:
    from abidance.render.naming import plain
    assert plain("a */ b /* c ??/ d \\\n e") == "a * / b / * c ? ?/ d / e"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["header", "vmi"]) == 0
    assert "#define VMI_CALL_SetPxE 38u" in capsys.readouterr().out
    assert main(["header", "vmi", "--lang", "rust", "-o", str(tmp_path / "vmi.rs")]) == 0
    assert "pub const SetPxE: u32 = 38;" in (tmp_path / "vmi.rs").read_text()
