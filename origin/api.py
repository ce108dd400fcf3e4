"""The messages of the control plane: what nodes report, what they are told, and how clients ask for a node.

Every message travels as msgpack or JSON (`registry.wire`). Times are seconds unless a name says `_ms`.
Unknown fields are ignored, so that an old origin understands a newer node.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from registry.errors import InputInvalidError

ModelState = Literal["on_disk", "fetching", "loading", "asleep", "ready", "failed"]
NodeState = Literal["up", "suspect", "down", "draining"]
PlaceSource = Literal["stated", "learned", "mmdb", "region", "none"]
"""How a client's place is known: it said so; worked out from round trips; from a database of addresses; the middle of
its country; not at all."""

NodeId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
# Bounded, so that no report can poison an answer: msgpack holds 64 bits, JSON knows no infinity.
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Amount = Annotated[float, Meta(ge=0, le=1e9)]
Milliseconds = Annotated[float, Meta(gt=0, le=60_000)]  # no round trip on earth takes a minute


class Place(Struct, frozen=True):
    """A point on the earth in degrees."""

    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]


class RttSample(Struct, frozen=True, kw_only=True):
    """The round trips that a node's kernel has measured to clients of one network since the last report.

    Attributes:
        prefix: the clients' network, canonical: a /24 of IPv4, a /48 of IPv6.
        rtt_ms: the least one.
        count: how many connections were looked at.
    """

    prefix: Annotated[str, Meta(max_length=49)]
    rtt_ms: Milliseconds
    count: Annotated[int, Meta(ge=1, le=2**31)] = 1


class ModelReport(Struct, frozen=True, kw_only=True):
    """One release on a node, as the node measured it.

    Attributes:
        state: `asleep` is served too: it is loaded when a request comes, since not all models fit the memory.
        slots: requests it can answer at once; 0 while not ready.
        service_s: mean time a request holds a slot; None until measured.
        prefill_tokens_per_s: prompt tokens read a second, while nothing else is computed; None until measured.
        read_s: mean time that reading what a request brings takes in itself; None until measured.
        unread_s: how long those at work, together, have still to read.
        load_s: how long making it ready takes (from disk), measured or None.
        room_s: how long until there is memory to load it into; of one that sleeps.
        displaced_count: how many requests a turn come for what leaves memory for it; of one that sleeps.
        arrived_count: requests that were let in since the node started.
        prefixes: which beginnings of prompts it keeps (`origin.prefixes`); empty says nothing.
        variant: which of the release's variants is resident.
        space_id: the space that its vectors are in; "" for models that give none, or whose publisher did not say.
    """

    name: str
    version: str
    state: ModelState
    slots: Count = 0
    busy: Count = 0
    queued: Count = 0
    service_s: Seconds | None = None
    prefill_tokens_per_s: Seconds | None = None
    read_s: Seconds | None = None
    unread_s: Seconds = 0.0
    load_s: Seconds | None = None
    room_s: Seconds = 0.0
    displaced_count: Amount = 0.0
    arrived_count: Count = 0
    prefixes: bytes = b""
    fetched_bytes: Count = 0
    fetch_total_bytes: Count = 0
    detail: str = ""
    variant: str = ""
    space_id: str = ""


class GpuReport(Struct, frozen=True, kw_only=True):
    """A GPU; `runtime` is `cuda` or `vulkan`, `memory_bytes` 0 when unknown."""

    name: str
    runtime: str
    memory_bytes: Count = 0


class MachineReport(Struct, frozen=True, kw_only=True):
    """What a node's machine has, within what the node may use of it.

    Attributes:
        processor: its name, or the architecture.
        features: of the CPU, in the kernel's words.
        memory_bytes: 0 when unknown.
    """

    cores_count: Count
    processor: str
    features: tuple[str, ...] = ()
    memory_bytes: Count = 0
    gpus: tuple[GpuReport, ...] = ()


class NodeReport(Struct, frozen=True, kw_only=True):
    """A heartbeat: all that a node says of itself, each time.

    Attributes:
        incarnation: a number larger at every start of the node; an older one is ignored.
        number: of this report since the node's start, from 1; a lower one that comes later is ignored; 0: not counted.
        url: where clients reach the node.
        follows: patterns (`fnmatch`) of the model names that it wants.
        channel: the channel it takes releases from.
        enrolled: it came with a certificate of the fleet; the origin that hears it says so, whatever it says itself.
        machine: what it runs on; of the CPU's features those alone that matter for speed.
        addresses: public addresses of the node, IPv4 and IPv6, that DNS may answer with.
        handed_on: how many requests it has sent on to other nodes since its start, by reason.
        rtts: the round trips to clients that it has seen since the last report, at most 256 networks.
    """

    node_id: NodeId
    incarnation: Count
    url: str
    number: Count = 0
    place: Place | None = None
    label: str = ""
    draining: bool = False
    channel: str = "stable"
    follows: tuple[str, ...] = ("*",)
    models: tuple[ModelReport, ...] = ()
    software: str = ""
    enrolled: bool = False
    machine: MachineReport | None = None
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=45)], ...], Meta(max_length=8)] = ()
    handed_on: dict[str, Count] = {}
    rtts: Annotated[tuple[RttSample, ...], Meta(max_length=256)] = ()


class WantedRelease(Struct, frozen=True):
    """A release that a node should hold and serve."""

    name: str
    version: str
    manifest_sha256: str


class Peer(Struct, frozen=True):
    """Another node that may have chunks of a release: it holds it, fetches it, or is about to."""

    node_id: NodeId
    url: str


class Directive(Struct, frozen=True, kw_only=True):
    """The origin's answer to a heartbeat.

    Attributes:
        wanted: None when the origin cannot say now (its object store is away): keep what you have.
        peers: for wanted releases that are not on the node's disk yet, by the sha256 of the manifest: whom to ask
            for chunks before the origin, the nearest first.
        origins: URLs of the origins of this fleet that are heard now, the answering one first; empty where there is
            one alone.
        cut_off: this origin does not hear the others: report to each of them as well.
        route_keys: the public keys (Ed25519) whose tickets the node may believe.
        client_keys: the sha256 of the signed list of client keys, so that a node fetches a new one; "" says nothing.
        mark_salt: what the node's sketches of kept prompts are salted with (`origin.prefixes`); for nodes alone.
    """

    wanted: tuple[WantedRelease, ...] | None
    heartbeat_s: Seconds
    peers: dict[str, tuple[Peer, ...]] = {}
    origins: tuple[str, ...] = ()
    cut_off: bool = False
    route_keys: tuple[bytes, ...] = ()
    client_keys: str = ""
    mark_salt: bytes = b""


class RouteQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which nodes should answer this client for this model?

    Attributes:
        model: `chat`, `chat:canary` or `chat@1.2.0`; `embed#SPACE` insists on a space of vectors.
        place: where the client is, if it says so.
        exclude: ids of nodes that have just failed this client.
        marks: beginnings of the prompt, of `prompt_bytes`, each its number and its length (`origin.prefixes`), so that
            nodes that have read them come first.
        turns: the prompt itself, each turn's role and text, to work out `marks` and what is not stated of its length.
        explains: say of every node why it is where it is, or why it is not in the list; nothing is noted as sent.
    """

    model: str
    place: Place | None = None
    prompt_tokens: Count = 0
    prompt_bytes: Count = 0
    marks: Annotated[tuple[tuple[Count, Count], ...], Meta(max_length=48)] = ()
    turns: Annotated[tuple[tuple[str, str], ...], Meta(max_length=1024)] = ()
    explains: bool = False
    limit: Annotated[int, Meta(ge=1, le=16)] = 4
    exclude: tuple[str, ...] = ()


class RankedNode(Struct, frozen=True, kw_only=True):
    """One candidate; `score_s` is the expected time to first token, the sum of `terms_s`.

    Attributes:
        rtt_source: what `rtt_ms` rests on: `probe`, `prefix`, `as`, `region`, `place`, or `none`.
        each_s: what each request that is under way there adds to the wait of the next one, on the mean.
    """

    node_id: str
    url: str
    label: str
    place: Place | None
    distance_km: float | None
    rtt_ms: float
    rtt_source: str = "none"
    score_s: float
    terms_s: dict[str, float]
    version: str
    each_s: Seconds = 0.0


class LeftOut(Struct, frozen=True):
    """A node that is not in a ranked list; `why` follows its name in a sentence."""

    node_id: str
    label: str
    why: str


class RouteAnswer(Struct, frozen=True, kw_only=True):
    """Candidates, best first, good for `ttl_s`; `place_source` says how the client's place was known.

    Attributes:
        probes: the nodes whose round trip it would help most to know: measure them beside the work, and report.
        expires_unix_s: when that is, by the origin's clock.
        ticket: the list, signed, to send along with requests (`x-edgeward-ticket`), so that nodes may hand them on.
        reason: why the first is first: `nearest`, `load`, `spread`, `explore` or `no_place`.
        left_out: the other nodes, when the question asked for them.
        space_id: the one space of vectors that all of these nodes give; "" where there is but one, or none.
    """

    model: str
    nodes: tuple[RankedNode, ...]
    ttl_s: Seconds
    place: Place | None
    place_source: PlaceSource
    probes: tuple[Peer, ...] = ()
    expires_unix_s: float = 0.0
    ticket: str = ""
    reason: str = ""
    left_out: tuple[LeftOut, ...] = ()
    space_id: str = ""


class ProbedRtt(Struct, frozen=True, kw_only=True):
    """The least round trip that a client has measured to a node, of `count` tries, `age_s` ago."""

    node_id: NodeId
    rtt_ms: Milliseconds
    count: Annotated[int, Meta(ge=1, le=2**31)] = 1
    age_s: Seconds = 0.0


class RttReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client's background probes have measured, from its address's network, and from `place`, if it says so."""

    probes: Annotated[tuple[ProbedRtt, ...], Meta(min_length=1, max_length=16)]
    place: Place | None = None


class RttReceipt(Struct, frozen=True):
    """How many of the reported round trips were taken in; the others name nodes that this origin does not know."""

    taken_count: Count


class VariantSummary(Struct, frozen=True, kw_only=True):
    """One variant of a release.

    Attributes:
        memory_bytes: what it takes with the context that models take by themselves; 0 when it was not counted.
        features: of the CPU, that it cannot do without.
        space_id: the space that its vectors are in; "" says nothing.
    """

    name: str
    kind: str
    quantization: str
    total_bytes: Count
    memory_bytes: Count = 0
    features: tuple[str, ...] = ()
    space_id: str = ""


class ReleaseSummary(Struct, frozen=True, kw_only=True):
    """One release in the catalog; kind, architecture and quantization are its first variant's."""

    name: str
    version: str
    kind: str
    architecture: str
    quantization: str
    total_bytes: Count
    stored_bytes: Count
    manifest_sha256: str
    created_unix_s: Count
    variants: tuple[VariantSummary, ...] = ()


class CatalogAnswer(Struct, frozen=True, kw_only=True):
    """Every release, and for each model which version each channel points at."""

    releases: tuple[ReleaseSummary, ...]
    channels: dict[str, dict[str, str]]


def place_at(lat: float, lon: float, param: str = "place") -> Place:
    """The place at these degrees.

    Raises:
        InputInvalidError: not on the earth; `param` names what was read.
    """
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):  # a NaN fails too
        raise InputInvalidError(
            f"{lat},{lon} is not a place: write LAT,LON in degrees, latitude -90 to 90, longitude -180 to 180 "
            "(such as 48.86,2.35)",
            param=param,
        )
    return Place(lat, lon)


def parse_place(text: str, param: str = "place") -> Place:
    """A place from `LAT,LON` in degrees, such as `48.86,2.35` or `-33.9,151.2`.

    Raises:
        InputInvalidError: not two numbers, or not on the earth; `param` names what was read.
    """
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputInvalidError(
            f"{text[:40]!r} is not a place: write LAT,LON in degrees, such as 48.86,2.35", param=param
        ) from error
    return place_at(lat, lon, param)
