"""From addresses to spots: databases that come, change and break; proxies; what nodes and clients report."""

import asyncio
import shutil

import mmdb_writer
import pytest
from netaddr import IPSet

from origin.api import NodeReport, Place, RttSample
from origin.geo.client_spot import NOWHERE
from origin.geo.heard import Sample
from origin.geo.network import Network
from origin.geo_files import GeoFiles
from origin.whereabouts import Whereabouts, keep_known
from registry.errors import ConfigError

PARIS, TOKYO = Place(48.86, 2.35), Place(35.68, 139.65)


def write(path, rows):
    """A database in DB-IP's flat form: network to latitude, longitude, country."""
    writer = mmdb_writer.MMDBWriter(6, "test", languages=["en"], ipv4_compatible=True, float_type="f64")
    for network, (lat, lon, country) in rows.items():
        writer.insert_network(IPSet([network]), {"latitude": lat, "longitude": lon, "country_code": country})
    fresh = path.with_suffix(".new")
    writer.to_db_file(str(fresh))
    fresh.replace(path)


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "places.mmdb"
    write(path, {"198.18.0.0/16": (48.86, 2.35, "FR"), "2001:db8::/32": (35.68, 139.65, "JP")})
    return path


@pytest.fixture
def whereabouts(database):
    files = GeoFiles([database])
    made = Whereabouts(Network(), files)
    made.refresh()
    yield made
    files.close()


def test_addresses_of_both_kinds_are_placed(whereabouts):
    spot = whereabouts.spot("198.18.7.9", 0.0)
    assert (spot.prefix, spot.region, spot.place, spot.place_source) == ("198.18.7.0/24", "FR", PARIS, "mmdb")
    assert whereabouts.spot("::ffff:198.18.7.9", 0.0) == spot
    assert whereabouts.spot("2001:db8:5::1", 0.0).place == TOKYO
    assert whereabouts.spot("203.0.113.1", 0.0).place_source == "none"


def test_what_is_stated_counts_before_the_database(whereabouts):
    spot = whereabouts.spot("198.18.7.9", 0.0, TOKYO)
    assert (spot.place, spot.place_source, spot.prefix) == (TOKYO, "stated", "198.18.7.0/24")


@pytest.mark.parametrize("remote", ["", "unix", "/run/x", "10.0.0.1", "127.0.0.1"])
def test_addresses_that_say_nothing_are_nowhere(whereabouts, remote):
    assert whereabouts.spot(remote, 0.0) == NOWHERE
    assert whereabouts.spot(remote, 0.0, PARIS).place_source == "stated"


def test_a_database_that_changes_is_taken_over_and_a_damaged_or_lost_one_is_not(whereabouts, database):
    write(database, {"198.18.0.0/16": (35.68, 139.65, "JP")})
    assert whereabouts.spot("198.18.7.9", 0.0).place == PARIS
    whereabouts.refresh()
    assert whereabouts.spot("198.18.7.9", 0.0).place == TOKYO
    damaged = database.with_suffix(".damaged")
    shutil.copy(database, damaged)
    damaged.write_bytes(damaged.read_bytes()[:300])
    damaged.replace(database)
    whereabouts.refresh()
    assert whereabouts.spot("198.18.7.9", 0.0).place == TOKYO
    database.unlink()
    whereabouts.refresh()
    assert whereabouts.spot("198.18.7.9", 0.0).place == TOKYO
    write(database, {"198.18.0.0/16": (48.86, 2.35, "FR")})
    whereabouts.refresh()
    assert whereabouts.spot("198.18.7.9", 0.0).place == PARIS


def test_without_a_database_everything_works(tmp_path):
    whereabouts = Whereabouts(Network(), GeoFiles([tmp_path / "none.mmdb"]))
    whereabouts.refresh()
    assert whereabouts.spot("198.18.7.9", 0.0).place is None


def test_an_address_of_ipv6_in_a_database_of_ipv4_is_unknown(tmp_path):
    writer = mmdb_writer.MMDBWriter(4, "test", float_type="f64")
    writer.insert_network(IPSet(["198.18.0.0/16"]), {"latitude": 1.5, "longitude": 2.5})
    writer.to_db_file(str(tmp_path / "four.mmdb"))
    files = GeoFiles([tmp_path / "four.mmdb"])
    whereabouts = Whereabouts(Network(), files)
    whereabouts.refresh()
    assert whereabouts.spot("2001:db8::1", 0.0).place is None
    assert whereabouts.spot("198.18.0.1", 0.0).place == Place(1.5, 2.5)
    files.close()


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("203.0.113.9", ["198.18.0.1"], "203.0.113.9"),  # no proxy of ours: the header may say anything
        ("10.0.0.2", ["198.18.0.1"], "198.18.0.1"),
        (
            "10.0.0.2",
            ["1.1.1.1, 198.18.0.1, 10.0.0.3"],
            "198.18.0.1",
        ),  # the client itself has put 1.1.1.1 there
        ("10.0.0.2", ["198.18.0.1", "10.0.0.3"], "198.18.0.1"),
        ("10.0.0.2", ["nonsense"], "10.0.0.2"),
        ("10.0.0.2", ["198.18.0.1, nonsense"], "10.0.0.2"),
        ("10.0.0.2", ["10.0.0.4"], "10.0.0.4"),
        ("10.0.0.2", [], "10.0.0.2"),
        ("", ["198.18.0.1"], ""),
    ],
)
def test_the_address_behind_proxies(remote, forwarded, client):
    whereabouts = Whereabouts(Network(), GeoFiles(()), ["10.0.0.0/8", "2001:db8::7"])
    assert whereabouts.client_address(remote, forwarded) == client
    assert Whereabouts(Network(), GeoFiles(())).client_address(remote, forwarded) == remote


@pytest.mark.parametrize("text", ["x", "10.0.0.1/8", "10.0.0.0/33", ""])
def test_a_proxy_that_is_no_network_is_refused_with_the_setting_s_name(text):
    with pytest.raises(ConfigError, match=r"origin\.trusted_proxies"):
        Whereabouts(Network(), GeoFiles(()), [text])


def test_heartbeats_teach_and_what_is_no_network_of_clients_is_passed_over(whereabouts):
    rtts = [
        RttSample(prefix=p, rtt_ms=42.0)
        for p in ("198.18.7.0/24", "10.0.0.0/24", "nonsense", "198.18.7.1/24")
    ]
    report = NodeReport(node_id="t", incarnation=1, url="http://t", place=TOKYO, rtts=tuple(rtts))
    whereabouts.hear(report, 0.0)
    spot = whereabouts.spot("198.18.7.200", 1.0)
    told = whereabouts.network.estimate(spot, "t", TOKYO, 1.0)
    assert told.source == "prefix"
    assert len(whereabouts.network._heard._kinds["prefix"]) == 1


def test_a_client_that_has_reported_has_a_spot_of_its_own(whereabouts):
    sample = Sample("p", PARIS, 8.0, 2, "198.18.7.9", 0.0)
    assert whereabouts.spot("198.18.7.9", 0.0).client == ""
    whereabouts.hear_client("198.18.7.9", None, (sample,), 0.0)
    spot = whereabouts.spot("198.18.7.9", 0.0)
    assert spot.client == "198.18.7.9"
    assert whereabouts.network.estimate(spot, "p", PARIS, 0.0).source == "probe"
    assert whereabouts.spot("198.18.7.10", 0.0).client == ""


async def test_round_trips_are_fitted_in_pieces_while_others_have_their_turn(whereabouts, monkeypatch):
    for number in range(200):
        report = NodeReport(
            node_id=f"n{number}", incarnation=1, url="http://n.example:1", place=Place(number / 4, number / 2),
            rtts=(RttSample(prefix="198.18.7.0/24", rtt_ms=100.0 + number, count=3),),
        )  # fmt: skip
        whereabouts.hear(report, 0.0)
    rests, sleep = [], asyncio.sleep

    async def rest(wait_s):
        rests.append(wait_s)
        await sleep(0)

    monkeypatch.setattr("origin.whereabouts.asyncio.sleep", rest)
    network = whereabouts.network
    before_ms = network.estimate(whereabouts.spot("198.18.200.1", 0.0), "n100", Place(25, 50), 0.0).rtt_ms
    learning = asyncio.create_task(keep_known(whereabouts))
    async with asyncio.timeout(60):
        while 5.0 not in rests:
            await sleep(0)
    assert len(rests) > 5
    assert not network.fit_due
    assert (
        network.estimate(whereabouts.spot("198.18.200.1", 0.0), "n100", Place(25, 50), 0.0).rtt_ms
        != before_ms
    )
    learning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await learning
