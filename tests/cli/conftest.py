# SPDX-License-Identifier: BSD-2-Clause
"""The command line on the toy ABI, in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from toy import ToyAbi, ToyPlatform, install

from abidance.cli.main import main


@pytest.fixture
def toy_cli(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """toy_cli("check", "toy", …) -> exit status; `platform` is what the toy runs on."""

    def run(*words: str, platform: ToyPlatform | None = None) -> int:
        install(platform or ToyPlatform(), monkeypatch)
        for module in ("check", "list", "show", "mutants"):
            monkeypatch.setattr(f"abidance.cli.{module}_command.find_abi", lambda _: ToyAbi())
        return main([*words, "--target", "toy"] if words[0] == "check" else list(words))

    return run
