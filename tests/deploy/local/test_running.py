"""SIGTERM ends a program as Ctrl-C does: its clean-up runs."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from deploy.local.running import run_until_stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_work_and_lets_it_clean_up(number):
    seen = []

    async def work():
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            seen.append("cleaned")

    with pytest.raises(KeyboardInterrupt):
        run_until_stopped(work())
    assert seen == ["cleaned"]


def test_an_error_of_the_work_is_its_own():
    async def work():
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run_until_stopped(work())
