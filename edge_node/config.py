"""NodeConfig: every setting of an edge node (section `node`), checked as a whole when it is made."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path  # the settings loader reads the real types
from typing import Literal
from urllib.parse import urlsplit

from edge_node.public_addresses import check_public_addresses
from edge_node.variant_choice import AUTO
from origin.api import Place, parse_place
from registry.errors import ConfigError, InputInvalidError
from registry.listening import check_listener
from registry.reference import check_channel, check_variant

_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # compared with, never bound to


def _default_data_dir() -> Path:
    return Path("~/.local/share/edgeward/node").expanduser()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """How this machine serves.

    Attributes:
        node_id: the node's name in the fleet; empty makes one at the first start and keeps it in `data_dir`.
        host: address to listen on; anything but loopback needs a certificate or `insecure`.
        port: 0 takes any free one.
        insecure: allow an address that other machines can reach without TLS.
        tls_cert_file: the certificate that clients see, PEM, with those between it and its authority; None speaks HTTP.
        tls_key_file: its key, PEM, without a passphrase; both are read again when they change.
        require_keys: let requests in by a client key alone (`edgeward clients`); keys travel in the clear without TLS.
        max_key_age_s: how old the list of client keys may be before nobody is let in; 0 is any age, so that a site
            that is cut off goes on, and lets revoked keys in until it is back.
        public_url: where clients reach the node; empty says `http(s)://host:port`.
        public_addresses: IPv4 and IPv6 addresses that the origin may answer DNS with; empty takes the host of the
            public URL where that is an address.
        origin: URLs of the origins, the preferred one first; heartbeats go to the first that answers. A node that has
            joined a fleet speaks to the https:// ones of them, or, where none is, to where it joined.
        join_token: lets the node join the fleet at its first start, at `origin`; not looked at once it is in. An
            instance on AWS joins by its role with `aws-iam.PIN`, the pin of the fleet's authority.
        join_token_file: a file with such a token, for those who keep secrets out of settings; an empty one is none.
        place: where the node stands, `LAT,LON` in degrees; empty when unknown.
        label: a name for people, such as `Frankfurt`.
        data_dir: the node's own directory: releases, its id, and what it served last.
        trusted_root: file of the first root that signatures are checked against; None takes `root.json` in `data_dir`.
            Without one the node serves and installs nothing.
        trust_first_root: with no root, take the one that the origin shows first, for good: safe only while nobody
            stands between, so compare its sha256 in the log with `edgeward keys show`.
        follows: patterns (`fnmatch`) of the model names to hold.
        channel: the channel that releases are taken from.
        threads_count: compute threads of each engine.
        context_tokens: prompt plus answer; 0 takes each model's own limit, capped at 4096.
        slots_count: answers of a model made at once; 0 is 16.
        kv_type: how keys and values are kept: `f16`, or `q8_0` in 0.53 of the memory.
        gpu_layers_count: layers that GPUs compute; -1 is all.
        gpu_split: shares of a model for each GPU, comma-separated; empty leaves it to llama.cpp.
        split_mode: how several GPUs share a model: `layer`, `row`, or `none` for one GPU.
        variant: the variant to take of each release that has it, whatever it needs; `auto` takes the best that fits.
        memory_limit_bytes: what the engines together may take; 0 is nine tenths of what the machine or its cgroup has.
            Models that do not fit together are loaded for the requests that ask for them.
        prefix_cache_bytes: what prefilled prefixes of one release may take on the disk; 0 keeps none there. They hold
            prompts, and only this user may read them.
        prefix_memory_bytes: what prefilled prefixes may take in the memory of one engine, beside its cells.
        determinism_probe_s: how long the first load of a release may try how many deterministic answers can share a
            batch; 0 does not try, and they are then computed one after the other.
        guess_tokens: the most tokens of an answer that are guessed out of its own text and checked in one step, where
            that is measured to pay; 0 is none.
        load_wait_s: how long a request waits for a model that is being loaded before it is told to come back.
        onnx_providers: ONNX Runtime's execution providers for ONNX models, in order of preference; empty takes the
            CPU. All must be in the installed build of ONNX Runtime.
        onnx_batching: `exact` computes requests together only where no answer changes by it, as each model is seen
            at its load; `fast` always; `off` never.
        onnx_keeps_arena: keep the memory of the largest run for the next; false gives it back, and is slower.
        queue_limit_count: requests that may wait for each model; further ones get 429.
        queue_limit_tokens: prompt tokens that may wait for each model.
        response_cache_bytes: room for answers that are kept in memory; 0 keeps none.
        response_cache_age_s: how old a kept answer may become.
        connection_idle_s: how long a connection may go without a whole request's head, be it silent or slow.
        body_limit_bytes: the largest request body as it travels.
        unpacked_limit_bytes: the largest request body in zstd after decompression.
        otlp_endpoint: where spans of requests go (OTLP over HTTP); empty makes none. Needs the extra `otel`.
        drain_s: how long running answers may go on when the node is told to stop.
        swap_grace_s: how long running answers may go on with a release that was replaced.
        origin_timeout_s: patience with one call of the origin.
        fetch_concurrency_count: ranges fetched at once.
        unwanted_keep_s: how long a model that is no longer wanted stays on the disk.
        scrub_bytes_per_s: how fast releases on the disk are read through in the background; 0 is never.
        scrub_pause_s: the rest before each such round.
    """

    node_id: str = ""
    host: str = "127.0.0.1"
    port: int = 7710
    insecure: bool = False
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    require_keys: bool = False
    max_key_age_s: float = 0.0
    public_url: str = ""
    public_addresses: tuple[str, ...] = ()
    origin: tuple[str, ...] = ("http://127.0.0.1:7700",)
    join_token: str = field(default="", repr=False)
    join_token_file: Path | None = None
    place: str = ""
    label: str = ""
    data_dir: Path = field(default_factory=_default_data_dir)
    trusted_root: Path | None = None
    trust_first_root: bool = False
    follows: tuple[str, ...] = ("*",)
    channel: str = "stable"
    threads_count: int = 1
    context_tokens: int = 0
    slots_count: int = 0
    kv_type: Literal["f16", "q8_0"] = "f16"
    gpu_layers_count: int = 0
    gpu_split: tuple[float, ...] = ()
    split_mode: Literal["none", "layer", "row"] = "layer"
    onnx_providers: tuple[str, ...] = ()
    onnx_batching: Literal["exact", "fast", "off"] = "exact"
    onnx_keeps_arena: bool = True
    variant: str = AUTO
    memory_limit_bytes: int = 0
    prefix_cache_bytes: int = 2**30
    prefix_memory_bytes: int = 256 * 2**20
    determinism_probe_s: float = 5.0
    guess_tokens: int = 0
    load_wait_s: float = 30.0
    queue_limit_count: int = 64
    queue_limit_tokens: int = 2**17
    response_cache_bytes: int = 64 * 2**20
    response_cache_age_s: float = 86_400.0
    connection_idle_s: float = 75.0
    body_limit_bytes: int = 8 * 2**20
    unpacked_limit_bytes: int = 32 * 2**20
    otlp_endpoint: str = ""
    drain_s: float = 30.0
    swap_grace_s: float = 300.0
    origin_timeout_s: float = 10.0
    fetch_concurrency_count: int = 4
    unwanted_keep_s: float = 3600.0
    scrub_bytes_per_s: int = 4 * 2**20
    scrub_pause_s: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises ConfigError."""
        if self.node_id and not _NODE_ID.fullmatch(self.node_id):
            raise ConfigError(
                f"node.node_id = {self.node_id!r}: use letters, digits, '.', '_' and '-', at most 63, "
                "beginning with a letter or digit"
            )
        check_listener("node", self)
        if not self.origin:
            raise ConfigError("node.origin is empty: give the URL of at least one origin")
        for url in self.origin:
            _check_url("origin", url)
        if self.otlp_endpoint:
            _check_url("otlp_endpoint", self.otlp_endpoint)
        if self.public_url:
            _check_url("public_url", self.public_url)
        elif self.host in _EVERYWHERE:
            raise ConfigError(
                f"node.host = {self.host!r} listens on every address: say in node.public_url where clients "
                "reach this node (for example http://203.0.113.7:7710)"
            )
        check_public_addresses(self.public_addresses)
        try:
            check_channel(self.channel)
        except InputInvalidError as error:
            raise ConfigError(f"node.channel: {error.message}") from error
        try:
            check_variant(self.variant)
        except InputInvalidError as error:
            raise ConfigError(f"node.variant: {error.message}") from error
        stated_place(self.place)
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name, least in (
            ("threads_count", 1), ("context_tokens", 0), ("slots_count", 0), ("gpu_layers_count", -1),
            ("memory_limit_bytes", 0),
            ("load_wait_s", 0), ("prefix_cache_bytes", 0), ("prefix_memory_bytes", 0), ("determinism_probe_s", 0),
            ("guess_tokens", 0), ("queue_limit_count", 0), ("body_limit_bytes", 1024),
            ("unpacked_limit_bytes", 1024), ("fetch_concurrency_count", 1), ("drain_s", 0), ("swap_grace_s", 0),
            ("unwanted_keep_s", 0), ("origin_timeout_s", 0.1), ("scrub_bytes_per_s", 0), ("scrub_pause_s", 1),
            ("queue_limit_tokens", 1), ("response_cache_bytes", 0), ("response_cache_age_s", 0),
            ("connection_idle_s", 1), ("max_key_age_s", 0),
        ):  # fmt: skip
            value = getattr(self, name)
            if not least <= value < math.inf:  # so written, NaN is refused too
                raise ConfigError(f"node.{name} = {value}: it must be a number, at least {least}")


def stated_token(config: NodeConfig) -> str:
    """The token to join with, out of its file where one is named; "" for none.

    Raises:
        ConfigError: the file cannot be read.
    """
    if config.join_token or config.join_token_file is None:
        return config.join_token
    try:
        return config.join_token_file.read_text("ascii", "replace").strip()
    except OSError as error:
        raise ConfigError(
            f"node.join_token_file = {config.join_token_file} cannot be read: {error.strerror}"
        ) from error


def stated_place(text: str) -> Place | None:
    """The point that `LAT,LON` means; None for an empty text.

    Raises:
        ConfigError: not two numbers, or not on the earth.
    """
    try:
        return parse_place(text) if text.strip() else None
    except InputInvalidError as error:
        raise ConfigError(f"node.place: {error.message}") from error


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname is not None
        _ = parts.port  # a port that is no number raises here
    except ValueError:
        known = False
    if not known:
        raise ConfigError(f"node.{name} = {url[:120]!r} is not a URL (for example http://127.0.0.1:7700)")
