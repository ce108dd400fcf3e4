import random

import pytest

from registry.errors import ObjectMissingError
from registry.layout import delta_key

DATA = random.Random(9).randbytes(5_000)
NEW, BASE = "1a" * 32, "2b" * 32


@pytest.fixture(autouse=True)
def delta(store):
    store.put_if_absent(delta_key(NEW, BASE), DATA)


async def test_a_delta_comes_in_ranges_and_says_how_long_it_is(origin):
    assert await origin.client.delta(NEW, BASE, 0, 1_000) == (DATA[:1_000], 5_000)
    assert await origin.client.delta(NEW, BASE, 4_500, 1_000) == (DATA[4_500:], 5_000)
    assert await origin.client.delta(NEW, BASE, 0, 1 << 24) == (DATA, 5_000)


@pytest.mark.parametrize(("new", "base"), [(BASE, NEW), (NEW, "none"), ("x" * 64, BASE)])
async def test_what_is_not_there_is_404(origin, new, base):
    with pytest.raises(ObjectMissingError):
        await origin.client.delta(new, base, 0, 100)
