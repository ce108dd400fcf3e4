"""Signature Version 4: the same as Amazon's own library makes, whatever is signed."""

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from edge_node.enrolment.aws_signing import AwsCredentials, amazon_time, prove, signature
from origin.api_aws import BODY, credential_scope, proof_headers
from tests.aws_stand_in import KEYS

SECRETS = st.text(alphabet="ABCXYZabcxyz0189/+=", min_size=1, max_size=60)
MORE = st.dictionaries(
    st.from_regex(r"x-[a-z]{1,9}", fullmatch=True),
    st.from_regex(r"[!-~]( ?[!-~]){0,9}", fullmatch=True),
    max_size=4,
)


def amazons(secret, token, region, service, headers, body):
    request = AWSRequest(method="POST", url=f"https://{headers['host']}/", data=body, headers=dict(headers))
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials("AKIDEXAMPLE", secret, token), service, region)
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


@given(
    SECRETS, SECRETS, st.sampled_from(["eu-central-1", "us-gov-west-1", "cn-north-1"]), st.integers(0, 2**32)
)
def test_the_proof_has_the_signature_that_amazons_library_makes(secret, token, region, unix_s):
    said = {"pin": "P" * 43, "challenge": "C" * 75, "key_sha256": "ab" * 32}
    proof = prove(AwsCredentials("AKIDEXAMPLE", secret, token), region, now_unix_s=unix_s, **said)
    headers = proof_headers(region=region, signed_at=proof.signed_at, session_token=token, **said)
    assert proof.signature == amazons(secret, token, region, "sts", headers, BODY)


@given(SECRETS, st.binary(max_size=200), MORE)
def test_any_headers_and_body(secret, body, more):
    headers = dict(
        sorted(({"host": "ssm.eu-central-1.amazonaws.com", "x-amz-date": "20261123T092301Z"} | more).items())
    )
    scope = credential_scope("eu-central-1", "ssm", "20261123T092301Z")
    assert signature(secret, scope, headers, body) == amazons(
        secret, "", "eu-central-1", "ssm", headers, body
    )


def test_moments_as_amazon_writes_them():
    assert amazon_time(1_763_889_781.9) == "20251123T092301Z"


def test_neither_key_nor_token_shows():
    credentials = AwsCredentials(KEYS.access, KEYS.secret, KEYS.token)
    assert KEYS.secret not in repr(credentials)
    assert KEYS.token not in repr(credentials)


def test_headers_are_signed_in_the_order_of_their_names():
    headers = proof_headers(
        region="eu-central-1", signed_at="x", session_token="t", pin="p", challenge="c", key_sha256="k"
    )
    assert list(headers) == sorted(headers)
    assert "x-amz-security-token" not in proof_headers(
        region="eu-central-1", signed_at="x", session_token="", pin="p", challenge="c", key_sha256="k"
    )


@pytest.mark.parametrize("name", ["x-edgeward-challenge", "x-edgeward-server-id", "x-edgeward-key-sha256"])
def test_what_binds_the_proof_is_signed(name):
    said = {"region": "eu-central-1", "signed_at": "20261123T092301Z", "session_token": "t"}
    headers = proof_headers(**said, pin="p", challenge="c", key_sha256="k")
    scope = credential_scope("eu-central-1", "sts", "20261123T092301Z")
    before = signature("s", scope, headers, BODY)
    assert signature("s", scope, headers | {name: "other"}, BODY) != before
