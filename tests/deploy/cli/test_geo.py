"""`edgeward geo`: what it says of an address, and what it refuses, as a person would type it."""

import json

import mmdb_writer
import pytest
from netaddr import IPSet

from deploy.cli import main


@pytest.fixture
def database(tmp_path):
    writer = mmdb_writer.MMDBWriter(4, "city test", float_type="f64")
    record = {"latitude": 48.5, "longitude": 2.25, "country_code": "FR"}
    writer.insert_network(IPSet(["198.18.0.0/15"]), record)
    writer.to_db_file(str(tmp_path / "places.mmdb"))
    return str(tmp_path / "places.mmdb")


def test_an_address_is_shown_with_the_network_that_it_holds_for(database, capsys):
    assert main(["geo", "show", "198.18.4.5", "--file", database]) == 0
    assert capsys.readouterr().out == "198.18.4.5 is at 48.5000,2.2500, in FR, as is the whole /15\n"
    assert main(["geo", "show", "::ffff:198.19.4.5", "--file", database, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["network"] == "198.19.4.0/24"
    assert answer["record"]["place"] == {"lat": 48.5, "lon": 2.25}


def test_an_address_that_no_database_knows_is_said_to_be(database, capsys):
    assert main(["geo", "show", "203.0.113.1", "--file", database]) == 0
    assert "unknown place" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show"], "edgeward geo show ADDRESS"),
        (["fetch", "198.18.0.1"], "edgeward geo fetch"),
        (["show", "paris", "--file", "x"], "not an IPv4 or IPv6 address"),
        (["show", "198.18.0.1", "--file", "none.mmdb"], "none.mmdb is not a database"),
        (["fetch", "--url", "ftp://x/y", "--file", "none.mmdb"], "http:// or https://"),
        (["fetch", "--url", "http://127.0.0.1:1/x", "--file", "none.mmdb"], "cannot be fetched"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["geo", *words]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not list(tmp_path.glob("*none.mmdb*"))
