"""How much more than its callers ask a client may send: second tries, and requests sent twice to save time."""

from __future__ import annotations

RETRY_SHARE = 0.1
RETRIES_FLOOR_COUNT = 3
HEDGE_SHARE = 0.02
HEDGES_SAVED_COUNT = 3.0


class RetryBudget:
    """Counts requests that wait for their first byte; a tenth of them, at least three, may be second ones.

    Second tries and hedges count alike, as in Envoy's retry budgets (there 20 %).
    """

    def __init__(self) -> None:
        self.active_count = 0
        self.taken_count = 0

    @property
    def allowed_count(self) -> int:
        """How many second requests may be under way now."""
        return max(RETRIES_FLOOR_COUNT, int(RETRY_SHARE * self.active_count))

    def begin(self) -> None:
        """A request starts."""
        self.active_count += 1

    def end(self) -> None:
        """A request has its first byte or has failed."""
        self.active_count -= 1

    def take(self) -> bool:
        """Whether one more second request may be sent; if so, it is counted until `give_back`."""
        allowed = self.taken_count < self.allowed_count
        self.taken_count += allowed
        return allowed

    def give_back(self) -> None:
        """A second request is over."""
        self.taken_count -= 1


class HedgeAllowance:
    """Lets one in fifty of the requests that may be hedged be hedged; what is not used is saved, up to three."""

    def __init__(self) -> None:
        self._saved_count = 0.0

    def earn(self) -> None:
        """A request starts that could be hedged."""
        self._saved_count = min(self._saved_count + HEDGE_SHARE, HEDGES_SAVED_COUNT)

    def ready(self) -> bool:
        """Whether a hedge is allowed now."""
        # Fifty times 0.02 is a little less than 1 in binary.
        return self._saved_count >= 1 - 1e-9

    def spend(self) -> None:
        """A hedge is sent."""
        self._saved_count -= 1
