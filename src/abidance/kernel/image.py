# SPDX-License-Identifier: BSD-2-Clause
"""Where the built guest programs are: test kernels and option ROMs that the wheel carries."""

from __future__ import annotations

import hashlib
from pathlib import Path

from abidance.errors import UnavailableError

__all__ = ["built", "digest", "kernel_image"]

_BUILT = Path(__file__).resolve().parent.parent / "_built"


def built(abi: str, name: str) -> Path:
    """Path of the built file ``name`` of an ABI. Raises UnavailableError if it was not built."""
    path = _BUILT / abi / name
    if not path.is_file():
        raise UnavailableError(f"the guest program {abi}/{name} has not been built",
                               remedy="pip install . in a checkout, or python hatch_build.py")
    return path


def kernel_image(port: str, abi: str) -> Path:
    """The test kernel's ELF for a port ("i386") and an ABI ("vmi"). Raises UnavailableError."""
    return built(abi, f"kernel-{port}.elf")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
