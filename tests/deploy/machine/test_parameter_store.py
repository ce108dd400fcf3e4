"""The certificate out of the Parameter Store: signed as Amazon checks it, put in place whole, or the old one stays."""

import grp
import os
import stat
import time

import pytest
from aiohttp import web

from deploy.machine import parameter_store
from deploy.machine.failing import MachineUnfitError
from deploy.machine.layout import Layout
from deploy.machine.parameter_store import put_certificate, read_parameters
from edge_node.enrolment.aws_instance import Instance
from edge_node.enrolment.aws_signing import AwsCredentials
from tests.aws_stand_in import KEYS, StandInParameters

NAMES = ["/edgeward/tls/certificate", "tls-key"]
INSTANCE = Instance(AwsCredentials(KEYS.access, KEYS.secret, KEYS.token), "eu-central-1", "i-12345678")


@pytest.fixture
async def store():
    async with StandInParameters(
        time.time, dict(zip(NAMES, ("certificate\n", "key\n"), strict=True))
    ).running() as it:
        yield it


@pytest.fixture
def group(monkeypatch):
    monkeypatch.setattr(parameter_store, "USER", grp.getgrgid(os.getegid()).gr_name)


async def read(store, names=NAMES, instance=INSTANCE):
    return await read_parameters(
        instance, names, region="eu-central-1", url=store.url, now_unix_s=time.time()
    )


async def test_both_are_read_in_the_order_asked_for(store):
    assert await read(store) == ["certificate\n", "key\n"]
    assert await read(store, NAMES[::-1]) == ["key\n", "certificate\n"]


async def test_what_is_missing_and_who_may_not_are_named(store):
    with pytest.raises(MachineUnfitError, match="there is no parameter other in eu-central-1"):
        await read(store, [NAMES[0], "other"])
    thief = Instance(AwsCredentials(KEYS.access, "guessed", KEYS.token), "eu-central-1")
    with pytest.raises(MachineUnfitError, match="SignatureDoesNotMatch"):
        await read(store, instance=thief)


@pytest.mark.parametrize("text", ["", "<html/>", '{"Parameters": 1}', '{"Parameters": [{"Name": "x"}]}'])
async def test_something_else_answers(store, text):
    async def answer(request):
        return web.Response(text=text)

    store.answer = answer
    with pytest.raises(MachineUnfitError, match="no Parameter Store"):
        await read(store)


async def test_nobody_answers(unused_tcp_port):
    with pytest.raises(MachineUnfitError, match="cannot be reached"):
        await read_parameters(
            INSTANCE,
            NAMES,
            region="eu-central-1",
            url=f"http://127.0.0.1:{unused_tcp_port}",
            now_unix_s=time.time(),
        )


def test_a_pair_is_put_in_place_for_the_services_group_alone(tmp_path, self_signed, group):
    certificate, key = (file.read_text() for file in self_signed("localhost"))
    layout = Layout(tmp_path)
    before = os.umask(0o077)
    try:
        assert put_certificate(layout, certificate, key)
    finally:
        os.umask(before)
    assert not put_certificate(layout, certificate, key)
    assert (layout.tls / "key.pem").read_text() == key
    assert [stat.S_IMODE((layout.tls / name).stat().st_mode) for name in (".", "certificate.pem", "key.pem")] == [
        0o755, 0o644, 0o640,
    ]  # fmt: skip


def test_what_does_not_fit_together_leaves_the_old_pair(tmp_path, self_signed, group):
    certificate, key = (file.read_text() for file in self_signed("localhost"))
    layout = Layout(tmp_path)
    put_certificate(layout, certificate, key)
    _, other = (file.read_text() for file in self_signed("localhost"))
    for wrong in ((certificate, other), (certificate, ""), ("", key), (certificate[:200], key), ("x", "y")):
        with pytest.raises(MachineUnfitError, match="cannot be used"):
            put_certificate(layout, *wrong)
    assert (layout.tls / "key.pem").read_text() == key


def test_before_there_is_a_service(tmp_path, self_signed, monkeypatch):
    monkeypatch.setattr(parameter_store, "USER", "nobody-of-this-name")
    certificate, key = (file.read_text() for file in self_signed("localhost"))
    with pytest.raises(MachineUnfitError, match="edgeward node install"):
        put_certificate(Layout(tmp_path), certificate, key)
