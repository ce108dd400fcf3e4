"""S3Store: a store in a bucket of any S3 endpoint, through boto3.

Every write is conditional and a single `put_object`: `upload_file` cannot carry conditions, and a multipart upload
whose condition fails must send all parts again. Packs are small enough for that.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, NoReturn

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from registry.digest import digest_of
from registry.errors import (
    ConfigError,
    ObjectMissingError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from registry.layout import named_digest
from registry.store import ObjectInfo, StoredObject
from registry.store.upload_body import UploadBody

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_s3 import S3Client

    from registry.digest import Digest
    from registry.store import ObjectStore
    from registry.store.config import StoreConfig

# no-transform: a proxy that compresses on the way would break ranges.
_IMMUTABLE = "public, max-age=31536000, immutable, no-transform"
_CHANGING = "no-cache"
_BINARY = "application/octet-stream"

_MISSING = {"NoSuchKey", "404", "NotFound"}
_TAKEN = {"PreconditionFailed", "412"}
_DENIED = {
    "403",
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "Forbidden",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
}
# 409 ConditionalRequestConflict: a write of the same key is going on; trying again decides it.
_LATER = {
    "409",
    "500",
    "502",
    "503",
    "504",
    "ConditionalRequestConflict",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "TooManyRequests",
}


def open_s3(config: StoreConfig) -> ObjectStore:
    """The store that the settings name. Nothing is sent yet; `probe_conditional_writes` tries it.

    Raises:
        ConfigError: the endpoint is not a URL, the bucket's name is empty, or only one key is given.
    """
    if config.endpoint and not config.endpoint.startswith(("http://", "https://")):
        raise ConfigError(
            f"store.endpoint = {config.endpoint!r} is not a URL; write http://HOST:PORT or https://HOST"
        )
    if not config.bucket:
        raise ConfigError("store.bucket is empty; name the bucket that holds the releases")
    if bool(config.access_key) != bool(config.secret_key):
        raise ConfigError("store.access_key and store.secret_key go together; set both or neither")
    try:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=config.endpoint or None,
            region_name=config.region,
            aws_access_key_id=config.access_key or None,
            aws_secret_access_key=config.secret_key or None,
            config=Config(
                signature_version="s3v4",
                connect_timeout=config.connect_timeout_s,
                read_timeout=config.read_timeout_s,
                max_pool_connections=config.connections_limit_count,
                # Tries are RetryingStore's, so that they are counted and logged in one place.
                retries={"total_max_attempts": 1},
                tcp_keepalive=True,
                # We send our own SHA-256; the default CRC trailers are not understood by every store.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={
                    "addressing_style": "path" if config.endpoint else "auto",
                    # The body is not hashed for the signature: what is signed has its SHA-256, which the store checks
                    # (tests/system/test_store_checks.py). A pack's is its name, known since it filled.
                    "payload_signing_enabled": False,
                },
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"the settings of the object store do not work: {error}") from error
    return S3Store(client, config.bucket, config.endpoint)


class S3Store:
    """An `ObjectStore` in one bucket; safe from several threads, as boto3's clients are."""

    def __init__(self, client: S3Client, bucket: str, endpoint: str) -> None:
        self._client = client
        self._bucket = bucket
        self._place = endpoint or "AWS S3"

    def get(self, key: str) -> StoredObject:
        """The whole object."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            return StoredObject(answer["Body"].read(), answer["ETag"])
        except (BotoCoreError, ClientError) as error:
            self._refuse(error, key)

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range."""
        if offset_bytes < 0 or length_bytes < 1:
            raise StoreError(f"{length_bytes} bytes from {offset_bytes} on are no range of {key}")
        stretch = f"bytes={offset_bytes}-{offset_bytes + length_bytes - 1}"
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key, Range=stretch)
            with answer["Body"] as body:
                # No longer than it says, so that it is read in one go: with a limit it is copied once more.
                length = answer.get("ContentLength")
                if length != length_bytes:
                    raise StoreError(
                        f"the store answered {length} bytes of {key} for {stretch}; is the object shorter?"
                    )
                data: bytes = body.read()
        except (BotoCoreError, ClientError) as error:
            self._refuse(error, key)
        return data

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag."""
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            self._refuse(error, key)
        except BotoCoreError as error:
            self._refuse(error, key)
        return ObjectInfo(key, answer["ContentLength"], answer["ETag"], answer["LastModified"].timestamp())

    def put_if_absent(self, key: str, data: bytes | bytearray) -> bool:
        """Write an immutable object."""
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=UploadBody(data),  # type: ignore[arg-type]  # read, seek and tell are all that boto3 wants
                IfNoneMatch="*",
                ChecksumSHA256=_checksum(named_digest(key) or digest_of(data)),
                CacheControl=_IMMUTABLE,
                ContentType=_BINARY,
            )
        except ClientError as error:
            if _code(error) in _TAKEN:
                return False
            self._refuse(error, key)
        except BotoCoreError as error:
            self._refuse(error, key)
        return True

    def put_if_match(self, key: str, data: bytes, etag: str | None) -> str:
        """Replace the object that had this etag."""
        sent = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            answer = self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=UploadBody(data),  # type: ignore[arg-type]  # as above
                ChecksumSHA256=_checksum(digest_of(data)),
                CacheControl=_CHANGING,
                ContentType=_BINARY,
                **sent,  # type: ignore[arg-type]  # the stub has no way to say either of the two
            )
        except ClientError as error:
            # 404 with If-Match: what had the etag is gone.
            if _code(error) in _TAKEN or (etag is not None and _code(error) in _MISSING):
                raise PreconditionFailedError(
                    f"someone else wrote {key} first; read it again and redo the change"
                ) from error
            self._refuse(error, key)
        except BotoCoreError as error:
            self._refuse(error, key)
        return answer["ETag"]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with the prefix, by key."""
        found: list[ObjectInfo] = []
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix
            ):
                found += [
                    ObjectInfo(item["Key"], item["Size"], item["ETag"], item["LastModified"].timestamp())
                    for item in page.get("Contents", ())
                ]
        except (BotoCoreError, ClientError) as error:
            self._refuse(error, prefix)
        # Stores that keep keys in directories list them by directory, not by key.
        yield from sorted(found, key=lambda info: info.key)

    def delete(self, key: str) -> None:
        """Remove an object."""
        try:
            self._client.delete_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if _code(error) not in _MISSING:
                self._refuse(error, key)
        except BotoCoreError as error:
            self._refuse(error, key)

    def _refuse(self, error: BotoCoreError | ClientError, key: str) -> NoReturn:
        """Raise what boto3 says in our words."""
        if isinstance(error, ClientError):
            raise self._refusal(_code(error), error, key) from error
        if isinstance(error, (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)):
            raise StoreError(
                f"no credentials for the object store at {self._place}: set store.access_key and store.secret_key "
                "(EDGEWARD_STORE_ACCESS_KEY, EDGEWARD_STORE_SECRET_KEY), or give boto3 a profile or role"
            ) from error
        if isinstance(error, ParamValidationError):
            raise StoreError(f"the object store cannot take this request: {error}") from error
        raise StoreUnavailableError(
            f"the object store at {self._place} cannot be reached ({error}); is it running, and is store.endpoint "
            "right? Set it in the [store] table of edgeward.toml or as EDGEWARD_STORE_ENDPOINT"
        ) from error

    def _refusal(self, code: str, error: ClientError, key: str) -> StoreError:
        if code == "NoSuchBucket":
            return StoreError(
                f"the object store at {self._place} has no bucket {self._bucket!r}: create it, or set store.bucket "
                "(EDGEWARD_STORE_BUCKET) to the one that holds the releases"
            )
        if code in _MISSING:
            return ObjectMissingError(f"the store has no object {key}")
        if code in _DENIED:
            return StoreError(
                f"the object store at {self._place} denies access to {key} in bucket {self._bucket!r} ({code}): check "
                "store.access_key and store.secret_key, and that they may read, write and list this bucket"
            )
        if code in _LATER:
            return StoreUnavailableError(
                f"the object store at {self._place} cannot do this now ({code}); try again, and if it stays so, "
                "see the store's own log (is its disk full?)"
            )
        if code in {"InvalidRange", "416"}:
            return StoreError(f"{key} is shorter than the range asked for")
        return StoreError(f"the object store at {self._place} refused {key}: {error}")


def _code(error: ClientError) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    known = _MISSING | _TAKEN | _DENIED | _LATER | {"NoSuchBucket", "InvalidRange"}
    return code if code in known or status not in known else status


def _checksum(digest: Digest) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()
