# SPDX-License-Identifier: BSD-2-Clause
"""The mock model, with a start that can be kept warm. Option "tag" makes kinds of machines different."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from mock_model import MockModel

from abidance.platform.base import Machine
from abidance.platform.model import Stop


class RenewableModel(MockModel):
    renewed = 0

    def run(self, budget: int) -> Stop:
        if not self.nonce and self.behaviour == "fatal-start":
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().run(budget)

    do_fatal_start = MockModel.do_good

    def control(self, command: str, values: Mapping[str, int]) -> int:
        return self.renewed if command == "renewed" else super().control(command, values)


def make(machine: Machine, doorbell: int) -> RenewableModel:
    del doorbell
    return RenewableModel(machine)


def renew(model: RenewableModel, machine: Machine) -> None:
    model.renewed += 1
    model.nonce = make(machine, 0).nonce
