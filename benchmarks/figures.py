# SPDX-License-Identifier: BSD-2-Clause
"""A measured figure and its goal; alternating rounds and their median."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Figure", "alternate"]


@dataclass(frozen=True)
class Figure:
    """`value` against `goal`; `at_least` says which side of the goal is good. `note` holds the rates
    behind a ratio, for orientation."""

    name: str
    value: float
    goal: float
    at_least: bool
    unit: str = ""
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def __str__(self) -> str:
        relation = ">=" if self.at_least else "<="
        unit = f" {self.unit}" if self.unit else ""
        verdict = "met" if self.met else "MISSED"
        note = f"  ({self.note})" if self.note else ""
        return f"{self.name}: {self.value:.3g}{unit}, goal {relation} {self.goal:g}{unit}: {verdict}{note}"


def alternate(first: Callable[[], float], second: Callable[[], float],
              rounds: int = 5) -> tuple[float, float]:
    """The medians of two measurements that take turns."""
    pairs = [(first(), second()) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
