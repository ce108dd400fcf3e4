"""The calls that the resources of the bucket stand for, made to a stand-in for AWS."""

import boto3

HOME = "us-east-1"


def client(endpoint, service, region):
    """A client of the stand-in."""
    return boto3.client(
        service,
        region_name=region or HOME,
        endpoint_url=endpoint,
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )


def put_bucket(s3, new):
    """Make the bucket."""
    region = s3.meta.region_name
    where = {} if region == HOME else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    name = new["bucket"]
    s3.create_bucket(Bucket=name, **where)
    domain = f"{name}.s3.{region}.amazonaws.com"
    return {"id": name, "arn": f"arn:aws:s3:::{name}", "bucket_regional_domain_name": domain}


def put_ownership(s3, new):
    """Say whom objects belong to."""
    rules = [{"ObjectOwnership": rule["object_ownership"]} for rule in new["rule"]]
    s3.put_bucket_ownership_controls(Bucket=new["bucket"], OwnershipControls={"Rules": rules})
    return {"id": new["bucket"]}


def put_access_block(s3, new):
    """Close the bucket to the public."""
    names = {
        "BlockPublicAcls": "block_public_acls",
        "BlockPublicPolicy": "block_public_policy",
        "IgnorePublicAcls": "ignore_public_acls",
        "RestrictPublicBuckets": "restrict_public_buckets",
    }
    closed = {name: bool(new[field]) for name, field in names.items()}
    s3.put_public_access_block(Bucket=new["bucket"], PublicAccessBlockConfiguration=closed)
    return {"id": new["bucket"]}


def put_versioning(s3, new):
    """Keep what is replaced."""
    status = new["versioning_configuration"][0]["status"]
    s3.put_bucket_versioning(Bucket=new["bucket"], VersioningConfiguration={"Status": status})
    return {"id": new["bucket"]}


def put_encryption(s3, new):
    """Encrypt by default."""
    [rule] = new["rule"]
    default = rule["apply_server_side_encryption_by_default"][0]
    asked = {"SSEAlgorithm": default["sse_algorithm"], "KMSMasterKeyID": default["kms_master_key_id"]}
    wanted = {
        "ApplyServerSideEncryptionByDefault": asked,
        "BucketKeyEnabled": bool(rule["bucket_key_enabled"]),
    }
    s3.put_bucket_encryption(Bucket=new["bucket"], ServerSideEncryptionConfiguration={"Rules": [wanted]})
    return {"id": new["bucket"]}


def put_lifecycle(s3, new):
    """End cut-off uploads and replaced versions."""
    rules = []
    for rule in new["rule"]:
        wanted = {
            "ID": rule["id"],
            "Status": rule["status"],
            "Filter": {"Prefix": rule["filter"][0]["prefix"] or ""},
        }
        if rule["abort_incomplete_multipart_upload"]:
            days = rule["abort_incomplete_multipart_upload"][0]["days_after_initiation"]
            wanted["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": int(days)}
        if rule["noncurrent_version_expiration"]:
            days = rule["noncurrent_version_expiration"][0]["noncurrent_days"]
            wanted["NoncurrentVersionExpiration"] = {"NoncurrentDays": int(days)}
        rules.append(wanted)
    s3.put_bucket_lifecycle_configuration(Bucket=new["bucket"], LifecycleConfiguration={"Rules": rules})
    return {"id": new["bucket"]}


def put_key(kms, new):
    """Make the key."""
    made = kms.create_key(Description=new["description"] or "")["KeyMetadata"]
    if new["enable_key_rotation"]:
        kms.enable_key_rotation(KeyId=made["KeyId"])
    return {"id": made["KeyId"], "key_id": made["KeyId"], "arn": made["Arn"]}


def end_key(kms, old):
    """Let the key end, after the days that it must wait."""
    days = int(old["deletion_window_in_days"])
    kms.schedule_key_deletion(KeyId=old["key_id"], PendingWindowInDays=days)


CALLS = {
    "aws_kms_key": ("kms", put_key, end_key),
    "aws_s3_bucket": ("s3", put_bucket, lambda s3, old: s3.delete_bucket(Bucket=old["bucket"])),
    "aws_s3_bucket_ownership_controls": (
        "s3",
        put_ownership,
        lambda s3, old: s3.delete_bucket_ownership_controls(Bucket=old["bucket"]),
    ),
    "aws_s3_bucket_public_access_block": (
        "s3",
        put_access_block,
        lambda s3, old: s3.delete_public_access_block(Bucket=old["bucket"]),
    ),
    "aws_s3_bucket_versioning": ("s3", put_versioning, lambda _s3, _old: None),
    "aws_s3_bucket_server_side_encryption_configuration": (
        "s3",
        put_encryption,
        lambda s3, old: s3.delete_bucket_encryption(Bucket=old["bucket"]),
    ),
    "aws_s3_bucket_lifecycle_configuration": (
        "s3",
        put_lifecycle,
        lambda s3, old: s3.delete_bucket_lifecycle(Bucket=old["bucket"]),
    ),
}


def apply(endpoint, name, new, old):
    """Make, change or end one resource; gives what the cloud decided, {} for types that have no call here."""
    if name not in CALLS:
        return {}
    service, put, end = CALLS[name]
    calls = client(endpoint, service, (new or old).get("region"))
    if new is None:
        end(calls, old)
        return {}
    return put(calls, new)
