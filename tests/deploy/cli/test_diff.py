from deploy.cli.diff import _in_words
from registry.update_cost import UpdateCost


def _cost(**changes):
    return UpdateCost(
        **{
            "total_bytes": 98_000_000, "manifest_bytes": 9_000, "same_chunks_count": 250, "new_chunks_count": 4,
            "new_raw_bytes": 20_000, "new_stored_bytes": 6_000, "pack_bytes": 6_000, "pack_requests_count": 1,
            "delta_bytes": None, "fetched_bytes": 15_000, "requests_count": 2, **changes,
        }
    )  # fmt: skip


def test_in_words_it_says_what_is_fetched_and_why():
    words = _in_words("m@1", "m@2", _cost())
    assert words.startswith("m@1 to m@2: 15.0 kB in 2 requests")
    assert "the manifest: 9.0 kB, and packs: 6.0 kB" in words
    assert "250 chunks" in words


def test_a_delta_is_named_instead():
    assert "the delta: 230 B" in _in_words("m@1", "m@2", _cost(delta_bytes=230))
