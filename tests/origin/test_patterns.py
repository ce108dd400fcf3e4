"""Texts of a fixed form in messages end where the form ends: `$` would let a line's end follow."""

import pytest

from origin.api import NodeId
from origin.api_aws import Challenge, Region
from origin.api_enrolment import Pin, TokenId
from origin.sharing.messages import OriginId
from registry.client_keys import KeySecret
from registry.errors import InputInvalidError
from registry.wire import from_json, to_json

FORMS = [
    (NodeId, "fra-1"), (TokenId, "0123456789ab"), (Pin, "A" * 43), (OriginId, "0123456789abcdef"),
    (Region, "eu-central-1"), (Challenge, "A" * 75),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), FORMS)
def test_nothing_follows_the_form(kind, text):
    assert from_json(to_json(text), kind) == text
    for more in ("\n", "\r\n", " ", "\0"):
        with pytest.raises(InputInvalidError):
            from_json(to_json(text + more), kind)


def test_nor_in_the_list_of_client_keys():
    assert from_json(b'{"sha256": "%s"}' % (b"0" * 64), KeySecret)
    with pytest.raises(InputInvalidError):
        from_json(b'{"sha256": "%s\\n"}' % (b"0" * 64), KeySecret)
