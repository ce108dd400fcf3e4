"""A provider for the real Terraform that has the schema of AWS 6.62 and no cloud behind it.

Planning proposes what was written, with everything computed unknown; applying fills that in from what was written.
With `EDGEWARD_AWS_ENDPOINT`, the resources of a bucket are really made there (`bucket_calls.py`). Run by Terraform
itself (`go-plugin`), with the file of the schema in `EDGEWARD_AWS_SCHEMA`.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import bucket_calls
import msgpack
import tf.provider
import tf.runner
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc

# What other modules check the form of, or cut into pieces.
SHAPED = {
    ("aws_availability_zones", "names"): ["region-1a", "region-1b", "region-1c"],
    ("aws_cloudfront_distribution", "arn"): "arn:aws:cloudfront::000000000000:distribution/E1STANDIN",
    ("aws_iam_instance_profile", "arn"): "arn:aws:iam::000000000000:instance-profile/stand-in",
    ("aws_s3_bucket", "bucket_regional_domain_name"): "stand-in.s3.eu-central-1.amazonaws.com",
    ("aws_vpc", "ipv6_cidr_block"): "2001:db8::/56",
}
UNKNOWN = msgpack.ExtType(0, b"\x00")
NESTING = {"single": 1, "list": 2, "set": 3, "map": 4}
EMPTY = {"string": "", "number": 0, "bool": False}


def block_message(block):
    """A block as Terraform's protocol has it."""
    message = pb.Schema.Block(version=0)
    for name, attribute in block["attributes"].items():
        message.attributes.append(
            pb.Schema.Attribute(
                name=name,
                type=json.dumps(attribute["type"]).encode(),
                required=attribute.get("required", False),
                optional=attribute.get("optional", False),
                computed=attribute.get("computed", False),
            )
        )
    for name, nested in block["block_types"].items():
        message.block_types.append(
            pb.Schema.NestedBlock(
                type_name=name,
                block=block_message(nested["block"]),
                nesting=NESTING[nested["nesting_mode"]],
                min_items=nested.get("min_items", 0),
                max_items=nested.get("max_items", 0),
            )
        )
    return message


def schema_message(block):
    """A schema as Terraform's protocol has it."""
    return pb.Schema(version=0, block=block_message(block))


def read(value):
    """A value of the protocol as Python has it; unknown ones are `UNKNOWN`."""
    if value.msgpack:
        return msgpack.unpackb(value.msgpack, ext_hook=msgpack.ExtType, strict_map_key=False)
    return json.loads(value.json) if value.json else None


def written(value):
    """A value as the protocol has it."""
    return pb.DynamicValue(msgpack=msgpack.packb(value))


def made_up(owner, name, of, seed):
    """What an attribute is after applying: made from the resource's own values, so that a second plan agrees."""
    if (owner, name) in SHAPED:
        return SHAPED[owner, name]
    if of != "string":
        return EMPTY[of] if isinstance(of, str) else {} if of[0] == "map" else []
    return f"arn:aws:stand-in::000000000000:{seed}" if name == "arn" else seed


class Provider(rpc.ProviderServicer):
    """The provider's side of Terraform's protocol 6."""

    def __init__(self, schema, endpoint):
        self.schema = schema
        self.endpoint = endpoint

    def GetMetadata(self, _request, _context):  # noqa: N802 - the protocol's names
        return pb.GetMetadata.Response(
            resources=[pb.GetMetadata.ResourceMetadata(type_name=name) for name in self.schema["resource"]],
            data_sources=[pb.GetMetadata.DataSourceMetadata(type_name=name) for name in self.schema["data"]],
            server_capabilities=pb.ServerCapabilities(get_provider_schema_optional=True),
        )

    def GetProviderSchema(self, _request, _context):  # noqa: N802
        return pb.GetProviderSchema.Response(
            provider=schema_message(self.schema["provider"]),
            resource_schemas={name: schema_message(block) for name, block in self.schema["resource"].items()},
            data_source_schemas={name: schema_message(block) for name, block in self.schema["data"].items()},
        )

    def ValidateProviderConfig(self, _request, _context):  # noqa: N802
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, _request, _context):  # noqa: N802
        return pb.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, _request, _context):  # noqa: N802
        return pb.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, _request, _context):  # noqa: N802
        return pb.ConfigureProvider.Response()

    def UpgradeResourceState(self, request, _context):  # noqa: N802
        return pb.UpgradeResourceState.Response(upgraded_state=written(json.loads(request.raw_state.json)))

    def ReadResource(self, request, _context):  # noqa: N802
        return pb.ReadResource.Response(new_state=request.current_state)

    def PlanResourceChange(self, request, _context):  # noqa: N802
        before, proposed = read(request.prior_state), read(request.proposed_new_state)
        if proposed is not None and before is None:
            for name, attribute in self.schema["resource"][request.type_name]["attributes"].items():
                if attribute.get("computed") and proposed.get(name) is None:
                    proposed[name] = UNKNOWN
        return pb.PlanResourceChange.Response(planned_state=written(proposed))

    def ApplyResourceChange(self, request, _context):  # noqa: N802
        state = read(request.planned_state)
        known = {}
        if self.endpoint is not None:
            known = bucket_calls.apply(self.endpoint, request.type_name, state, read(request.prior_state))
        if state is not None:
            attributes = self.schema["resource"][request.type_name]["attributes"]
            told = repr(sorted((name, repr(value)) for name, value in state.items()))
            seed = hashlib.sha256(f"{request.type_name}{told}".encode()).hexdigest()[:17]
            for name, value in state.items():
                if isinstance(value, msgpack.ExtType):
                    state[name] = known.get(
                        name, made_up(request.type_name, name, attributes[name]["type"], seed)
                    )
        return pb.ApplyResourceChange.Response(new_state=written(state))

    def ReadDataSource(self, request, _context):  # noqa: N802
        state = read(request.config)
        for name, attribute in self.schema["data"][request.type_name]["attributes"].items():
            if attribute.get("computed") and state.get(name) is None:
                state[name] = made_up(request.type_name, name, attribute["type"], f"stand-in-{name}")
        return pb.ReadDataSource.Response(state=written(state))

    def GetFunctions(self, _request, _context):  # noqa: N802
        return pb.GetFunctions.Response()

    def StopProvider(self, _request, _context):  # noqa: N802
        return pb.StopProvider.Response()


def main():
    """Serve the schema until Terraform ends."""
    schema = json.loads(Path(os.environ["EDGEWARD_AWS_SCHEMA"]).read_text())
    # The library serves a provider of its own kind: it is handed ours, which speaks the protocol itself.
    tf.provider.ProviderServicer = lambda _provider: Provider(schema, os.environ.get("EDGEWARD_AWS_ENDPOINT"))
    tf.runner.run_provider(None, sys.argv)


if __name__ == "__main__":
    main()
