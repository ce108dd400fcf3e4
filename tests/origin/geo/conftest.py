"""Fleets made of a few words."""

import pytest

from origin.api import CatalogAnswer, ModelReport, NodeReport, Place, ReleaseSummary
from origin.fleet import Fleet, FleetRules

PARIS, LONDON, TOKYO = Place(48.8566, 2.3522), Place(51.5074, -0.1278), Place(35.6762, 139.6503)


@pytest.fixture
def model():
    def make(name="chat", version="1.0", state="ready", **fields):
        measured = {"slots": 4, "service_s": 1.0, "prefill_tokens_per_s": 1000.0} if state == "ready" else {}
        return ModelReport(name=name, version=version, state=state, **(measured | fields))

    return make


@pytest.fixture
def node(model):
    def make(node_id, place=None, models=None, **fields):
        return NodeReport(
            node_id=node_id,
            incarnation=1,
            url=f"http://{node_id}.example:1",
            place=place,
            models=(model(),) if models is None else tuple(models),
            **fields,
        )

    return make


@pytest.fixture
def fleet():
    def make(*reports, heard_s=0.0):
        fleet = Fleet(FleetRules())
        for report in reports:
            fleet.accept(report, heard_s)
        return fleet

    return make


@pytest.fixture
def catalog():
    def make(*releases, channels=None):
        return CatalogAnswer(
            releases=tuple(
                ReleaseSummary(
                    name=name,
                    version=version,
                    kind="gguf",
                    architecture="llama",
                    quantization="Q4_K_M",
                    total_bytes=1,
                    stored_bytes=1,
                    manifest_sha256="0" * 64,
                    created_unix_s=1,
                )
                for name, version in releases
            ),
            channels=channels or {},
        )

    return make


@pytest.fixture
def cities():
    return {"paris": PARIS, "london": LONDON, "tokyo": TOKYO}
