# SPDX-License-Identifier: BSD-2-Clause
"""The kernel on a bare QEMU without a ROM: HELLO and the simple ops."""

from __future__ import annotations

from abidance.kernel import Echo


def test_hello(bench) -> None:
    hello = bench.hello
    for name, value in hello.items.items():
        print(name, hex(value) if isinstance(value, int) else value)
    assert bench.run(Echo((1, 2), b"abc"))[0].blob == b"abc"
