"""Who may speak, who may renew."""

import pytest

from origin.errors import CertificateExpiredError, CertificateUnfitError, NodeRevokedError
from origin.identity.certificates import NodeCertificate
from origin.identity.standing import GRACE_S, check_same_key, check_standing, may_report_unenrolled

SHOWN = NodeCertificate("f", "a", "k", 1000.0, 2000.0)


@pytest.mark.parametrize("now", [1000, 1999.9])
def test_in_its_time_it_is_good(now):
    check_standing(SHOWN, {}, now)
    check_standing(SHOWN, {"other": ("a", 5.0)}, now)


@pytest.mark.parametrize(
    ("now", "says"), [(999, "one of the two clocks is wrong"), (2000, "must be renewed")]
)
def test_out_of_its_time_it_is_not_and_both_clocks_are_said(now, says):
    with pytest.raises(CertificateExpiredError, match=says) as refused:
        check_standing(SHOWN, {}, now)
    assert refused.value.message.count("UTC") == 2


def test_it_can_be_renewed_for_thirty_days_more():
    check_standing(SHOWN, {}, 2000 + GRACE_S - 1, grace_s=GRACE_S)
    with pytest.raises(CertificateExpiredError, match="join again with a new token"):
        check_standing(SHOWN, {}, 2000 + GRACE_S, grace_s=GRACE_S)


def test_a_revoked_key_is_refused_at_any_time():
    for now in (0, 1500, 9999):
        with pytest.raises(NodeRevokedError):
            check_standing(SHOWN, {"k": ("a", 5.0)}, now, grace_s=GRACE_S)


def test_a_renewal_is_for_the_same_key():
    check_same_key(SHOWN, "k")
    with pytest.raises(CertificateUnfitError):
        check_same_key(SHOWN, "other")


@pytest.mark.parametrize(("loopback", "insecure", "may"), [(1, 0, 1), (0, 1, 1), (1, 1, 1), (0, 0, 0)])
def test_unenrolled_ones_are_heard_on_this_machine_or_where_that_was_said(loopback, insecure, may):
    assert may_report_unenrolled(loopback=bool(loopback), insecure=bool(insecure)) == bool(may)
