"""What clients ask of the choice, who is listed, and loads and places at random."""

from hypothesis import strategies as st

from origin.api import Place
from origin.geo.choose import Ask, parse_model
from origin.geo.client_spot import NOWHERE, ClientSpot

NEAR_PARIS = Place(48.7, 2.4)

loads = st.fixed_dictionaries(
    {
        "busy": st.integers(0, 50),
        "queued": st.integers(0, 50),
        "slots": st.integers(0, 8),
        "service_s": st.none() | st.floats(0, 60),
        "prefill_tokens_per_s": st.none() | st.floats(0, 1e5),
    }
)
places = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))


def ask(text="chat", *, place=None, **fields):
    reference, bare = parse_model(text)
    spot = ClientSpot(place=place, place_source="stated") if place is not None else NOWHERE
    return Ask(reference, any_channel=bare, spot=spot, **fields)


def ids(decision):
    return [ranked.node_id for ranked in decision.nodes]
