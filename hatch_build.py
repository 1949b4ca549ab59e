# SPDX-License-Identifier: BSD-2-Clause
"""Build the guest programs (test kernels, option ROMs) that travel in the wheel.

Runs in two ways: hatchling calls :class:`GuestBuildHook` for ``pip install``, and
``python hatch_build.py [PATTERN ...]`` builds in place from a checkout.

Every ``build.toml`` under ``src/abidance`` may hold ``[[artifact]]`` tables and one ``[port]`` table.
docs/building.md describes the keys. Results go to ``src/abidance/_built/<abi>/<name>``. An artifact is
rebuilt only if its commands or any file it may read have changed, and the same inputs give the
same bytes wherever the checkout lies.

``ABIDANCE_CC`` selects the compiler: ``zig`` (default, from PyPI), ``clang`` or ``gcc``.
``ABIDANCE_DEBUG=1`` keeps symbols and DWARF for gdb; such files name paths of the machine.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

__all__ = ["Artifact", "BuildError", "build", "build_all", "discover", "finish_rom", "prune"]

ROOT = Path(__file__).resolve().parent
PACKAGE = Path("src/abidance")
BUILT = PACKAGE / "_built"
DEFAULT_TARGET = "x86-freestanding"
COMPILERS = {
    "zig": {"x86-freestanding": "{python} -m ziglang cc -target x86-freestanding -mcpu=i686",
            "riscv64-freestanding": "{python} -m ziglang cc -target riscv64-freestanding -mcmodel=medany"},
    "clang": {"x86-freestanding": "clang --target=i386-unknown-none-elf -march=i686 -fuse-ld=lld",
              "riscv64-freestanding": "clang --target=riscv64-unknown-none-elf -mcmodel=medany -fuse-ld=lld"},
    "gcc": {"x86-freestanding": "gcc -m32 -march=i686",
            "riscv64-freestanding": "riscv64-linux-gnu-gcc -mcmodel=medany"},
}
TARGET_FLAGS = {"x86-freestanding": ["-mno-sse", "-mno-mmx", "-mno-80387"], "riscv64-freestanding": []}
FLAGS = [
    "-std=gnu11", "-Os", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin",
    "-fno-stack-protector", "-fno-sanitize=undefined", "-fno-asynchronous-unwind-tables", "-fno-pic",
    "-fno-omit-frame-pointer", "-fcf-protection=none", "-nostdlib", "-static", "-no-pie",
    "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,--no-gc-sections",
]
ROM_UNIT = 512
ROM_LIMIT = 0xFF * ROM_UNIT
INPUT_SUFFIXES = {".c", ".h", ".S", ".ld", ".inc"}


class BuildError(Exception):
    """A guest program cannot be built; the text says which, and what the compiler said."""


class Artifact(NamedTuple):
    """One file to build. Paths are relative to the checkout; ``output`` to ``_built``."""

    output: str
    kind: str
    sources: tuple[Path, ...]
    linker: Path
    includes: tuple[Path, ...] = ()
    defines: Mapping[str, str | int] = MappingProxyType({})
    target: str = DEFAULT_TARGET
    flags: tuple[str, ...] = ()


def _relative(folder: Path, names: Sequence[str], root: Path) -> tuple[Path, ...]:
    """Names of a build.toml, relative to its folder, as paths relative to ``root``."""
    paths = tuple(Path(os.path.relpath(root / folder / name, root)) for name in names)
    for path in paths:
        if not (root / path).exists():
            raise BuildError(f"{folder}/build.toml names {path}, which does not exist")
    return paths


def _port(root: Path, name: str) -> tuple[dict[str, Any], Path]:
    folder = PACKAGE / "kernel" / "ports" / name
    try:
        table = tomllib.loads((root / folder / "build.toml").read_text())["port"]
    except (OSError, KeyError) as error:
        raise BuildError(f"port {name!r} has no [port] in {folder}/build.toml") from error
    return table, folder


def _artifacts_of(root: Path, folder: Path, table: dict[str, Any]) -> Iterator[Artifact]:
    """The artifact that one [[artifact]] table describes, and one more for each of its variants."""
    sources = _relative(folder, table["sources"], root)
    includes: tuple[Path, ...] = (folder,)
    target, flags, linker = table.get("target", DEFAULT_TARGET), tuple(table.get("flags", ())), None
    if "port" in table:
        port, port_folder = _port(root, table["port"])
        sources = _relative(port_folder, port["sources"], root) + sources
        includes += (port_folder, port_folder.parent)
        target, flags = port.get("target", target), tuple(port.get("flags", ())) + flags
        (linker,) = _relative(port_folder, [port["linker"]], root)
    if "linker" in table:
        (linker,) = _relative(folder, [table["linker"]], root)
    if linker is None or table["kind"] not in {"elf", "rom"}:
        raise BuildError(f"{folder}/build.toml: {table['name']} needs a linker script, and kind elf or rom")
    includes += _relative(folder, table.get("includes", []), root)
    abi = folder.parts[len(PACKAGE.parts) + 1]
    for variant in [{"name": table["name"]}, *table.get("variants", [])]:
        yield Artifact(
            output=f"{abi}/{variant['name']}", kind=table["kind"], sources=sources, linker=linker,
            includes=includes, defines={**table.get("defines", {}), **variant.get("defines", {})},
            target=target, flags=flags)


def discover(root: Path = ROOT) -> list[Artifact]:
    """Every artifact that a build.toml under ``root`` describes. Raises BuildError."""
    found: dict[str, Artifact] = {}
    for path in sorted((root / PACKAGE).rglob("build.toml")):
        folder = path.parent.relative_to(root)
        try:
            for table in tomllib.loads(path.read_text()).get("artifact", []):
                for artifact in _artifacts_of(root, folder, table):
                    if artifact.output in found:
                        raise BuildError(f"{folder}/build.toml: {artifact.output} is described twice")
                    found[artifact.output] = artifact
        except tomllib.TOMLDecodeError as error:
            raise BuildError(f"{folder}/build.toml: {error}") from error
        except KeyError as error:
            raise BuildError(f"{folder}/build.toml: an artifact lacks the key {error}") from error
    return list(found.values())


def _command(artifact: Artifact, output: str) -> list[str]:
    """The compiler's command line; the same for every place the checkout may lie in."""
    name = os.environ.get("ABIDANCE_CC", "zig")
    if name not in COMPILERS:
        raise BuildError(f"ABIDANCE_CC={name}: not one of {', '.join(COMPILERS)}")
    try:
        words = shlex.split(COMPILERS[name][artifact.target])
    except KeyError as error:
        raise BuildError(f"{artifact.output}: {name} has no target {artifact.target}") from error
    words = [sys.executable if word == "{python}" else word for word in words]
    defines = [f"-D{key}={value:d}" if isinstance(value, int) else f"-D{key}={value}"
               for key, value in artifact.defines.items()]
    debug = ["-g" if os.environ.get("ABIDANCE_DEBUG") else "-g0"]
    return [*words, *FLAGS, *debug, *TARGET_FLAGS[artifact.target], *artifact.flags,
            *(f"-I{path}" for path in artifact.includes), *defines, f"-Wl,-T,{artifact.linker}",
            "-o", output, *map(str, artifact.sources)]


def _compiler_version() -> str:
    name = os.environ.get("ABIDANCE_CC", "zig")
    command = [sys.executable, "-m", "ziglang", "version"] if name == "zig" else [name, "--version"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        remedy = "pip install ziglang" if name == "zig" else f"install {name}, or set ABIDANCE_CC=zig"
        raise BuildError(f"the compiler {name} does not run (to get it: {remedy}): {error}") from error


def _digest(artifact: Artifact, root: Path, version: str) -> str:
    """Digest of everything that can change the artifact: commands, compiler, files it may read."""
    folders = {path.parent for path in (*artifact.sources, artifact.linker)} | set(artifact.includes)
    files = {file for folder in folders for file in (root / folder).iterdir()
             if file.suffix in INPUT_SUFFIXES}
    digest = hashlib.sha256(repr((_command(artifact, "")[1:], artifact.kind, version)).encode())
    digest.update(Path(__file__).read_bytes())
    for file in sorted(files):
        digest.update(f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def finish_rom(image: bytes, name: str = "rom") -> bytes:
    """Pad to 512 bytes, set the length byte (offset 2) and make the 8-bit sum zero by the last byte.

    The image length of a PCI data structure ("PCIR", found by the word at 18h) is set as well.
    """
    if image[:2] != b"\x55\xaa" or len(image) < 0x1A:
        raise BuildError(f"{name}: an option ROM must begin with the bytes 55 AA")
    units = len(image) // ROM_UNIT + 1
    if units > 0xFF:
        raise BuildError(f"{name}: {len(image)} bytes are more than the length byte can say")
    rom = bytearray(image.ljust(units * ROM_UNIT, b"\0"))
    rom[2] = units
    pci = int.from_bytes(rom[0x18:0x1A], "little")
    if pci and rom[pci:pci + 4] == b"PCIR":
        rom[pci + 16:pci + 18] = units.to_bytes(2, "little")
    rom[-1] = -sum(rom[:-1]) & 0xFF
    return bytes(rom)


def _loaded_bytes(path: Path, name: str) -> bytes:
    """The allocated sections of an ELF linked at 0, each at its address, gaps zero.

    By sections, not segments: linkers put the ELF header into the first segment, wrapped below 0.
    """
    from elftools.elf.constants import SH_FLAGS
    from elftools.elf.elffile import ELFFile

    image = bytearray()
    with path.open("rb") as stream:
        for section in ELFFile(stream).iter_sections():
            if not section["sh_flags"] & SH_FLAGS.SHF_ALLOC or not section["sh_size"]:
                continue
            start, end = section["sh_addr"], section["sh_addr"] + section["sh_size"]
            if section["sh_type"] == "SHT_NOBITS" or end > ROM_LIMIT:
                raise BuildError(f"{name}: {section.name} at {start:#x} cannot be in a ROM linked at 0")
            image.extend(bytes(max(0, end - len(image))))
            image[start:end] = section.data()
    return bytes(image)


def _environment(scratch: Path) -> dict[str, str]:
    """The compiler's environment; zig's caches go to scratch where HOME cannot be written."""
    environment = dict(os.environ, LC_ALL="C", SOURCE_DATE_EPOCH="0")
    environment.setdefault("ZIG_LOCAL_CACHE_DIR", str(scratch / "zig-local"))
    if not os.access(os.environ.get("HOME") or "/nonexistent", os.W_OK):
        cache = Path(tempfile.gettempdir()) / f"abidance-zig-{os.getuid()}"
        environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache))
    return environment


def build(artifact: Artifact, root: Path = ROOT, *, version: str | None = None) -> bool:
    """Build one artifact in place; False if it was up to date. Raises BuildError."""
    output = root / BUILT / artifact.output
    stamp = output.with_name(output.name + ".stamp")
    digest = _digest(artifact, root, version if version is not None else _compiler_version())
    if output.exists() and stamp.exists() and stamp.read_text() == digest:
        return False
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="abidance-build-") as scratch:
        linked = Path(scratch) / "linked.elf"
        command = _command(artifact, str(linked))
        done = subprocess.run(command, cwd=root, env=_environment(Path(scratch)), capture_output=True,
                              text=True, check=False)
        if done.returncode:
            raise BuildError(f"{artifact.output}: the compiler failed ({done.returncode})\n"
                             f"{shlex.join(command)}\n{done.stdout}{done.stderr}".rstrip())
        image = linked.read_bytes()
        if artifact.kind == "rom":
            image = finish_rom(_loaded_bytes(linked, artifact.output), artifact.output)
    for path, data in ((output, image), (stamp, digest.encode())):
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_bytes(data)
        fresh.replace(path)
    return True


def build_all(root: Path = ROOT, patterns: Sequence[str] = ("*",)) -> list[str]:
    """Build what matches; the names that were rebuilt. Raises BuildError after having tried all."""
    chosen = [a for a in discover(root) if any(fnmatch.fnmatch(a.output, pattern) for pattern in patterns)]
    version = _compiler_version() if chosen else ""

    def attempt(artifact: Artifact) -> tuple[bool, str]:
        try:
            return build(artifact, root, version=version), ""
        except BuildError as error:
            return False, str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(attempt, chosen))
    problems = [problem for _, problem in outcomes if problem]
    if problems:
        raise BuildError("\n".join(problems))
    return [artifact.output for artifact, (rebuilt, _) in zip(chosen, outcomes, strict=True) if rebuilt]


def prune(root: Path = ROOT) -> None:
    """Remove results that no build.toml describes any more, so that no wheel carries them."""
    known = {artifact.output for artifact in discover(root)}
    for path in sorted((root / BUILT).rglob("*")):
        output = path.relative_to(root / BUILT).as_posix().removesuffix(".stamp")
        if path.is_file() and output not in known and not path.name.startswith("."):
            path.unlink(missing_ok=True)


def main() -> int:
    """Build in place; exit status 0, or 1 with the compiler's words on standard error."""
    parser = argparse.ArgumentParser(description="build the guest programs in place")
    parser.add_argument("pattern", nargs="*", default=["*"], help="artifacts to build, e.g. 'vmi/*.rom'")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to build in")
    arguments = parser.parse_args()
    try:
        for name in build_all(arguments.root.resolve(), arguments.pattern):
            print(f"built {BUILT / name}")
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # `python hatch_build.py` needs no hatchling
    pass
else:
    class GuestBuildHook(BuildHookInterface[Any]):
        """Hatchling's entry: build everything before the wheel is put together."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Build in place; ``artifacts`` in pyproject.toml takes the results along."""
            del version, build_data
            build_all(Path(self.root))
            prune(Path(self.root))


if __name__ == "__main__":
    sys.exit(main())
