# SPDX-License-Identifier: BSD-2-Clause
"""Cases of the toy ABI, one for each thing a case can do."""

from __future__ import annotations

from abidance.suite import Guest, case, mutant, untested


@case("toy.Add.adds-one")
def adds_one(g: Guest) -> None:
    """Add returns one more."""
    value = g.rng.randrange(1 << 30)
    g.expect_equal(g.call("Add", eax=value).eax, value + 1, "the sum")


@case("toy.Add.seen-even")
def seen_even(g: Guest) -> None:
    """Add of 2 is even, which it is not."""
    g.expect_equal(g.call("Add", eax=2).eax, 0, "the lowest bit", mask=1)


@case("toy.Add.when-slow", "toy.Add.guest-asks-nicely")
def slow(g: Guest) -> None:
    """Never runs: exempt, and for guests."""
    raise AssertionError


@case("toy.Echo.echoes")
def echoes(g: Guest) -> None:
    """Echo returns its argument."""
    g.expect_equal(g.call("Echo", eax=5).eax, 5, "the echo")


@case("toy.{item}.preserves-ebx", for_each=("Add", "Echo"))
def preserves(g: Guest, entry: str) -> None:
    """EBX survives."""
    g.expect_preserved(g.call(entry, eax=1), "ebx")


@case("toy.Absent.does")
def absent(g: Guest) -> None:
    """Never runs: not offered."""
    raise AssertionError


untested("toy.Echo.untested", reason="nobody is outside")


@mutant("Add-adds-two", violates="toy.Add.adds-one", on="toy")
def _(hv: object) -> None:
    """Add adds two."""


@mutant("Add-adds-one-too", violates="toy.Add.adds-one", on="toy", equivalent="it is the same")
def _(hv: object) -> None:
    """Add adds one in another way."""


@mutant("Echo-dies", violates="toy.Echo.echoes", on="toy")
def _(hv: object) -> None:
    """Echo takes the machine down."""
