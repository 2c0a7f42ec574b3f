# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Read the dates and names of a certificate, and judge them.

The certificate comes from a handshake that trusts anybody, for an expired one
must be looked at too; Python then hands out only its bytes. They are read
here, for neither openssl nor python3-cryptography has to be on the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from ansible_collections.carrental.ops.plugins.module_utils._checks import (
    FAIL,
    OK,
    WARN,
    Thresholds,
)

_SEQUENCE, _SET, _OCTETS, _OBJECT = 0x30, 0x31, 0x04, 0x06
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_EXPLICIT_0, _EXPLICIT_3, _DNS_NAME = 0xA0, 0xA3, 0x82
_COMMON_NAME = bytes.fromhex("550403")
_ALTERNATIVE_NAME = bytes.fromhex("551d11")


class CertificateError(ValueError):
    """The bytes are no certificate."""


@dataclass(frozen=True)
class Certificate:
    """What matters of a certificate here."""

    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]

    def covers(self, hostname: str) -> bool:
        """Whether it is made out to a host name; a star stands for one label."""
        wanted = hostname.lower().rstrip(".")
        parent = wanted.partition(".")[2]
        return any(
            name == wanted or (name.startswith("*.") and name[2:] == parent and parent)
            for name in self.names
        )


def parse(der: bytes) -> Certificate:
    """Read a certificate in its binary form (RFC 5280, 4.1)."""
    try:
        certificate = _only(der, _SEQUENCE)
        body = next(_parts(certificate))[1]
        fields = [part for part in _parts(body) if part[0] != _EXPLICIT_0]
        # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, …
        validity, subject = fields[3][1], fields[4][1]
        first, last = list(_parts(validity))
        names = _alternative_names(fields[6:]) or _common_names(subject)
        return Certificate(_moment(*first), _moment(*last), tuple(name.lower() for name in names))
    except (IndexError, StopIteration, ValueError) as error:
        raise CertificateError("the bytes are no certificate") from error


def judge(
    certificate: Certificate, now: datetime, thresholds: Thresholds, hostname: str = ""
) -> tuple[str, str]:
    """Status, and what is wrong with it."""
    day = certificate.not_after.strftime("%Y-%m-%d")
    if now < certificate.not_before:
        first = certificate.not_before.strftime("%Y-%m-%d %H:%M UTC")
        return FAIL, (
            f"the certificate is not valid before {first}; "
            "check the clock, or install the right one"
        )
    if now >= certificate.not_after:
        days = (now - certificate.not_after).days
        return FAIL, (
            f"the certificate expired {_days(days)} ago, on {day}; renew it and reload the proxy"
        )
    if hostname and not certificate.covers(hostname):
        names = ", ".join(certificate.names[:5]) or "nobody"
        return (
            FAIL,
            f"the certificate is made out to {names}, not to {hostname}; install the right one",
        )
    left = (certificate.not_after - now).days
    text = f"the certificate expires in {_days(left)}, on {day}; renew it and reload the proxy"
    if left < thresholds.cert_fail_days:
        return FAIL, text
    if left < thresholds.cert_warn_days:
        return WARN, text
    return OK, f"the certificate is valid until {day}"


def _days(number: int) -> str:
    if number < 1:
        return "less than a day"
    return "1 day" if number == 1 else f"{number} days"


def _alternative_names(fields: list[tuple[int, bytes]]) -> list[str]:
    for tag, content in fields:
        if tag != _EXPLICIT_3:
            continue
        for _tag, extension in _parts(_only(content, _SEQUENCE)):
            parts = list(_parts(extension))
            if parts[0] == (_OBJECT, _ALTERNATIVE_NAME):
                listed = _parts(_only(parts[-1][1], _SEQUENCE))
                return [name.decode("ascii", "replace") for tag, name in listed if tag == _DNS_NAME]
    return []


def _common_names(subject: bytes) -> list[str]:
    found = []
    for _tag, group in _parts(subject):
        for _tag2, attribute in _parts(group):
            kind, value = list(_parts(attribute))[:2]
            if kind == (_OBJECT, _COMMON_NAME):
                found.append(value[1].decode("utf-8", "replace"))
    return found


def _moment(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        # Two digits of the year: 50 and later are the last century (RFC 5280, 4.1.2.5.1).
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)


def _only(data: bytes, tag: int) -> bytes:
    found, content = next(_parts(data))
    if found != tag:
        raise ValueError("another type was expected")
    return content


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element, one after another."""
    position = 0
    while position < len(data):
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[position : position + size], "big")
            position += size
        if position + length > len(data):
            raise ValueError("cut off")
        yield tag, data[position : position + length]
        position += length
