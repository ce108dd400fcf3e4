from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.cache.terms import ANY_TERMS, Terms, cache_status, matches, request_terms


@pytest.mark.parametrize(
    ("header", "terms"),
    [
        (None, ANY_TERMS),
        ("", ANY_TERMS),
        ("no-store", Terms(store=False)),
        ("No-Cache", Terms(max_age_s=0)),
        ("max-age=60", Terms(max_age_s=60)),
        ('max-age="60"', Terms(max_age_s=60)),
        ("max-age=60, max-age=5", Terms(max_age_s=5)),
        ("max-age=99999999999999999999", Terms(max_age_s=2**31)),
        ("max-age=-1", Terms(max_age_s=0)),
        ("max-age", Terms(max_age_s=0)),
        ("max-stale=5, unknown=7", ANY_TERMS),
        ("only-if-cached, no-transform", Terms(only_kept=True)),
    ],
)
def test_what_a_request_allows(header, terms):
    assert request_terms(header) == terms


@given(st.text())
def test_no_header_breaks_it(text):
    request_terms(text)
    matches(text, '"a"')


@pytest.mark.parametrize(
    ("header", "same"),
    [
        (None, False), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"a-zstd"', False),
        ("a", False),
    ],
)  # fmt: skip
def test_entity_tags_are_compared_weakly(header, same):
    assert matches(header, '"a"') is same


def test_the_words_of_rfc_9211():
    assert cache_status("hit") == "edgeward; hit"
    assert cache_status("coalesced") == "edgeward; fwd=miss; collapsed"
    assert cache_status("miss", validated_only=True) == "edgeward; fwd=request"
    assert cache_status("bypass") == "edgeward; fwd=bypass"
