"""A real S3 server refuses bytes that are not those of the checksum beside them, also when the body is not signed.

Writes are sent unsigned because of that: what is signed is the checksum, and a pack's is known before.
"""

from __future__ import annotations

import base64
import random

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from registry.digest import digest_of
from registry.errors import StoreError
from registry.layout import pack_key
from registry.store.s3 import open_s3

pytestmark = pytest.mark.system


def _two(size_bytes):
    right = random.Random(size_bytes).randbytes(size_bytes)
    return right, right[:-1] + bytes((right[-1] ^ 1,))


@pytest.mark.parametrize("size_bytes", [100, 9_000_000])
def test_bytes_that_are_not_the_packs_are_refused(s3_store_config, size_bytes):
    store = open_s3(s3_store_config)
    right, wrong = _two(size_bytes)
    key = pack_key(digest_of(right))
    with pytest.raises(StoreError, match=r"BadDigest|Mismatch"):
        store.put_if_absent(key, wrong)
    assert store.head(key) is None
    assert store.put_if_absent(key, bytearray(right))
    assert store.get(key).data == right


@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
def test_the_server_checks_whatever_is_signed(s3_store_config, is_signed):
    client = boto3.client(
        "s3",
        endpoint_url=s3_store_config.endpoint,
        region_name=s3_store_config.region,
        aws_access_key_id=s3_store_config.access_key,
        aws_secret_access_key=s3_store_config.secret_key,
        config=Config(
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            s3={"addressing_style": "path", "payload_signing_enabled": is_signed},
        ),
    )
    sent = []
    client.meta.events.register(
        "before-send.s3.PutObject", lambda request, **_: sent.append(request.headers["x-amz-content-sha256"])
    )
    right, wrong = _two(1000)
    checksum = base64.b64encode(bytes.fromhex(digest_of(right))).decode()
    put = {"Bucket": s3_store_config.bucket, "Key": f"probes/checked-{is_signed}", "ChecksumSHA256": checksum}
    with pytest.raises(ClientError, match="BadDigest"):
        client.put_object(Body=wrong, **put)
    client.put_object(Body=right, **put)
    assert (sent[0] == b"UNSIGNED-PAYLOAD") is not is_signed
