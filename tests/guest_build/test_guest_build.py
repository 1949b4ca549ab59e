# SPDX-License-Identifier: BSD-2-Clause
"""The guest build helper: ROM finish, in-place builds, what is rebuilt, same bytes everywhere."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]

ROM_SOURCE = """
    .section .text, "ax"
    .globl start
start:
    .byte 0x55, 0xaa, 0
    lret
    .org 0x18
    .word pci - start, 0
    .org 0x80
    .byte FILL
pci:
    .ascii "PCIR"
    .zero 20
"""
ROM_SCRIPT = "ENTRY(start)\nSECTIONS { . = 0; .text : { *(.text) } /DISCARD/ : { *(.comment) *(.note*) } }\n"
ROM_TABLE = """
[[artifact]]
name = "toy.rom"
kind = "rom"
sources = ["toy.S"]
linker = "rom.ld"
defines = {FILL = 1}
variants = [{name = "mutants/other.rom", defines = {FILL = 2}}]
"""


def load() -> ModuleType:
    """As hatchling loads it: without an entry in sys.modules."""
    spec = importlib.util.spec_from_file_location("hatch_build_under_test", ROOT / "hatch_build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


builder = load()


def checkout(root: Path) -> Path:
    folder = root / "src/abidance/abi/toy/roms"
    folder.mkdir(parents=True)
    (folder / "toy.S").write_text(ROM_SOURCE)
    (folder / "rom.ld").write_text(ROM_SCRIPT)
    (folder / "build.toml").write_text(ROM_TABLE)
    return root


@pytest.fixture(autouse=True)
def default_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABIDANCE_CC", raising=False)


@given(st.binary(min_size=0x18, max_size=3000))
def test_finish_rom_makes_length_and_sum_right(tail: bytes) -> None:
    rom = builder.finish_rom(b"\x55\xaa\0" + tail)
    assert len(rom) % 512 == 0
    assert rom[2] * 512 == len(rom)
    assert sum(rom) % 256 == 0
    assert rom[3:3 + len(tail)] == tail or rom.find(b"PCIR") >= 0


def test_finish_rom_refuses_what_is_no_rom() -> None:
    with pytest.raises(builder.BuildError, match="55 AA"):
        builder.finish_rom(b"\0" * 512)
    with pytest.raises(builder.BuildError, match="length byte"):
        builder.finish_rom(b"\x55\xaa" + b"\0" * 0x20000)


def test_builds_variants_and_rebuilds_only_what_changed(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    assert builder.build_all(root) == ["toy/toy.rom", "toy/mutants/other.rom"]
    built = root / "src/abidance/_built/toy"
    rom, mutant = (built / "toy.rom").read_bytes(), (built / "mutants/other.rom").read_bytes()
    assert (rom[0x80], mutant[0x80]) == (1, 2)
    assert rom[0x81:0x85] == b"PCIR"
    assert rom[0x81 + 16] == 1
    assert builder.build_all(root) == []
    source = root / "src/abidance/abi/toy/roms/toy.S"
    source.write_text(source.read_text() + "    .byte 9\n")
    assert builder.build_all(root, ["*/other.rom"]) == ["toy/mutants/other.rom"]
    assert builder.build_all(root) == ["toy/toy.rom"]


def test_results_without_a_description_are_pruned(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    builder.build_all(root)
    table = root / "src/abidance/abi/toy/roms/build.toml"
    table.write_text("\n".join(line for line in table.read_text().splitlines() if "variants" not in line))
    builder.prune(root)
    left = {path.name for path in (root / "src/abidance/_built").rglob("*") if path.is_file()}
    assert left == {"toy.rom", "toy.rom.stamp"}


def test_same_bytes_wherever_the_checkout_lies(tmp_path: Path) -> None:
    images = []
    for name in ("a", "a much longer name"):
        root = tmp_path / name
        shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("_built", "__pycache__"))
        builder.build_all(root, ["vmi/kernel-i386.elf"])
        images.append((root / "src/abidance/_built/vmi/kernel-i386.elf").read_bytes())
    assert images[0] == images[1]


def test_compiler_errors_are_shown(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    (root / "src/abidance/abi/toy/roms/toy.S").write_text("nonsense %eax\n")
    with pytest.raises(builder.BuildError, match="nonsense"):
        builder.build_all(root)
    assert not (root / "src/abidance/_built/toy/toy.rom").exists()


def test_unknown_names_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = checkout(tmp_path)
    monkeypatch.setenv("ABIDANCE_CC", "tcc")
    with pytest.raises(builder.BuildError, match="tcc"):
        builder.build_all(root)
    (root / "src/abidance/abi/toy/roms/toy.S").unlink()
    with pytest.raises(builder.BuildError, match=r"toy\.S"):
        builder.discover(root)


def test_works_without_a_writable_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nonexistent")
    for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert builder.build_all(checkout(tmp_path), ["toy/toy.rom"]) == ["toy/toy.rom"]
