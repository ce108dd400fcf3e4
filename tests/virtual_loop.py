"""An event loop whose time passes only by waiting: an hour of sleeping takes milliseconds, the same way every time."""

import asyncio
import selectors


class _Selector(selectors.DefaultSelector):
    """Does not wait for the next timer: it moves the clock to it."""

    def __init__(self):
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout=None):
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout:
            self.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sockets work, but nobody waits for them: for what happens within one process."""

    def __init__(self):
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self):
        return self._virtual.now_s
