# SPDX-License-Identifier: BSD-2-Clause
"""An empty qcow2 image: the place where QEMU keeps a machine snapshot.

Four clusters of 64 KiB: header, refcount table, one refcount block, L1 table. Facts: QEMU,
docs/interop/qcow2.txt, version 3 header (104 bytes, big endian).
"""

from __future__ import annotations

import struct

__all__ = ["empty_image"]

_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS


def empty_image(size: int = 1 << 20) -> bytes:
    """A qcow2 image of a blank disk of `size` bytes (at most 512 MiB, what one L2 table covers)."""
    if not 0 < size <= _CLUSTER // 8 * _CLUSTER:
        raise ValueError(f"an image of {size} bytes needs more than one L2 table")
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, _CLUSTER_BITS, size, 0, 1, 3 * _CLUSTER, _CLUSTER,
        1, 0, 0, 0, 0, 0, 4, 104)
    refcount_table = struct.pack(">Q", 2 * _CLUSTER)
    refcounts = struct.pack(">4H", 1, 1, 1, 1)
    return b"".join(part.ljust(_CLUSTER, b"\0") for part in (header, refcount_table, refcounts, b""))
