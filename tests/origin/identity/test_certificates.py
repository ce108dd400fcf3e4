"""What certificates say, and which ones are refused."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from origin.errors import CertificateUnfitError
from origin.identity.certificates import (
    BACKDATED_S,
    LEAF_LIFE_S,
    make_authority,
    make_leaf,
    pin_of,
    read_certificates,
    read_node_certificate,
    read_request,
)

NOW = 1_700_000_000.0


@pytest.fixture(scope="module")
def signing():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def authority(signing):
    return make_authority(signing, "fleet-x", NOW)


def leaf(authority, signing, node_id="a"):
    key = ec.generate_private_key(ec.SECP256R1())
    return make_leaf(authority, signing, key.public_key(), node_id=node_id, now_unix_s=NOW)


def test_a_nodes_certificate_says_who_and_when(authority, signing):
    said = read_node_certificate(leaf(authority, signing, "Fra.1_b-2"), (authority,))
    assert (said.fleet, said.node_id) == ("fleet-x", "Fra.1_b-2")
    assert (said.not_before_unix_s, said.not_after_unix_s) == (NOW - BACKDATED_S, NOW + LEAF_LIFE_S)


def test_only_nodes_of_this_fleet_are_nodes(authority, signing):
    other_key = ec.generate_private_key(ec.SECP256R1())
    other = make_authority(other_key, "fleet-x", NOW)
    for stranger in (leaf(other, other_key), leaf(authority, signing, None), authority):
        with pytest.raises(CertificateUnfitError):
            read_node_certificate(stranger, (authority,))
    with pytest.raises(CertificateUnfitError):
        read_node_certificate(leaf(authority, signing), ())


def test_either_authority_of_a_bundle_will_do(authority, signing):
    other_key = ec.generate_private_key(ec.SECP256R1())
    other = make_authority(other_key, "fleet-x", NOW)
    assert read_node_certificate(leaf(authority, signing), (other, authority)).node_id == "a"


def test_pins_belong_to_keys_not_to_certificates(signing, authority):
    assert pin_of(make_authority(signing, "fleet-y", NOW + 5)) == pin_of(authority)
    assert len(pin_of(authority)) == 43


def request_of(key, digest=hashes.SHA256):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, digest() if digest else None).public_bytes(Encoding.PEM).decode()


def test_a_request_must_be_signed_by_its_own_p256_key():
    key = ec.generate_private_key(ec.SECP256R1())
    assert read_request(request_of(key)) == key.public_key()
    for other in (
        request_of(ec.generate_private_key(ec.SECP384R1())),
        request_of(rsa.generate_private_key(65537, 2048)),
        request_of(ed25519.Ed25519PrivateKey.generate(), None),
    ):
        with pytest.raises(CertificateUnfitError, match="P-256"):
            read_request(other)
    der = bytearray(x509.load_pem_x509_csr(request_of(key).encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1  # in the signature
    import base64

    forged = "-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(bytes(der)).decode()
    with pytest.raises(CertificateUnfitError):
        read_request(forged + "-----END CERTIFICATE REQUEST-----\n")


@given(
    st.text()
    | st.binary().map(lambda data: f"-----BEGIN CERTIFICATE-----\n{data!r}\n-----END CERTIFICATE-----")
)
def test_whatever_strangers_send_is_refused_in_order(text):
    for read in (read_request, read_certificates):
        with pytest.raises(CertificateUnfitError):
            read(text)
