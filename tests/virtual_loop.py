"""Event loops with a clock of their own: time passes by waiting, never because the machine was slow."""

import asyncio
import selectors

TURN_S = 20e-6
"""What one turn of a `PatientLoop` takes by its clock, so that work in a circle passes time, too."""


class _Selector(selectors.DefaultSelector):
    """Where nothing comes before the next timer is due, the clock goes there; what comes takes a turn's time at most.

    Args:
        turn_s: how much time what comes takes.
        waits: for timers, as long as they say; sockets need it, as the kernel takes its time with them.
    """

    def __init__(self, *, turn_s, waits):
        super().__init__()
        self.now_s = 1000.0
        self._turn_s = turn_s
        self._waits = waits

    def select(self, timeout=None):
        ready = super().select(timeout if self._waits or timeout is None else 0)
        self.now_s += timeout if timeout and not ready else self._turn_s
        return ready


class _ClockedLoop(asyncio.SelectorEventLoop):
    def __init__(self, selector):
        self._clock = selector
        super().__init__(selector)

    def time(self):
        return self._clock.now_s


class VirtualLoop(_ClockedLoop):
    """An hour of sleeping takes milliseconds, the same way every time: for what happens within one process.

    Sockets work, but nobody waits for them.
    """

    def __init__(self):
        super().__init__(_Selector(turn_s=0.0, waits=False))


class PatientLoop(_ClockedLoop):
    """Timers take as long as they say, and whoever answers at once is in time however long the machine was held up.

    For sockets of which both ends are in this process: what passes on the clock is what somebody has waited for.
    """

    def __init__(self):
        super().__init__(_Selector(turn_s=TURN_S, waits=True))
