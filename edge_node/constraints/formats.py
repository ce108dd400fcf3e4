"""The formats of strings that are enforced, as patterns; each accepts a part of what its standard does, never more.

Dates and times: RFC 3339. Durations: its appendix A. Host names: RFC 1123. Addresses: RFC 4291, RFC 2673.
"""

from __future__ import annotations

_YEAR = r"(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP_YEAR = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_MONTH_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DATE = rf"(?:{_YEAR}-{_MONTH_DAY}|{_LEAP_YEAR}-02-29)"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_CLOCK}:[0-5][0-9](?:\.[0-9]{{1,6}})?(?:Z|[+-]{_CLOCK})"
_COUNT = r"[0-9]{1,6}"
_HOURS = rf"(?:{_COUNT}H(?:{_COUNT}M(?:{_COUNT}S)?)?|{_COUNT}M(?:{_COUNT}S)?|{_COUNT}S)"
_DAYS = rf"(?:{_COUNT}Y(?:{_COUNT}M(?:{_COUNT}D)?)?|{_COUNT}M(?:{_COUNT}D)?|{_COUNT}D)"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,29}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL}){{0,6}}"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_GROUP = r"[0-9A-Fa-f]{1,4}"
_ATEXT = r"[A-Za-z0-9_+-]{1,15}"
_SEGMENT = r"[A-Za-z0-9._~-]{1,40}"
_QUERY = r"[A-Za-z0-9._~=&-]{0,80}"


def _ipv6() -> str:
    """All groups, or those on either side of `::`, which stands for at least one."""
    forms = [rf"(?:{_GROUP}:){{7}}{_GROUP}", rf"::(?:{_GROUP}(?::{_GROUP}){{0,6}})?"]
    forms += [rf"(?:{_GROUP}:){{{left}}}:(?:{_GROUP}(?::{_GROUP}){{0,{6 - left}}})?" for left in range(1, 7)]
    return "|".join([*forms, rf"(?:{_GROUP}:){{7}}:"])


_PATTERNS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": f"P(?:{_COUNT}W|{_DAYS}(?:T{_HOURS})?|T{_HOURS})",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "email": rf"{_ATEXT}(?:\.{_ATEXT}){{0,2}}@{_LABEL}(?:\.{_LABEL}){{0,3}}\.[A-Za-z]{{2,12}}",
    "hostname": _HOST,
    "ipv4": rf"{_BYTE}(?:\.{_BYTE}){{3}}",
    "ipv6": _ipv6(),
    "uri": rf"https?://{_HOST}(?::[1-9][0-9]{{0,3}})?(?:/{_SEGMENT}){{0,8}}/?(?:\?{_QUERY})?(?:#{_QUERY})?",
}

FORMATS = {name: f"^(?:{pattern})$" for name, pattern in _PATTERNS.items()}
"""The pattern of each format by its name."""
