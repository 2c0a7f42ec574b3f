# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Keep secrets out of whatever is returned: exact known ones, and passwords in URLs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "********"
# A reference to a variable, as in a compose file, is no password and hides none.
_REFERENCE = r"\$\{[^}\s]*\}"
URL_PASSWORD = re.compile(
    rf"(?P<head>[a-zA-Z][a-zA-Z0-9+.-]*://(?:{_REFERENCE}|(?!\$\{{)[^\s/@:])*:)"
    rf"(?!{_REFERENCE}@)[^\s/@]+(?=@)"
)
SECRET_NAME = re.compile(
    r"PASS(WORD|WD|PHRASE)?(_|$)|SECRET|TOKEN|CREDENTIAL|PRIVATE|(ACCESS|API|ENCRYPTION|SIGNING|AUTH)_?KEY",
    re.IGNORECASE,
)
# Such a value hides nothing, and masking it would garble every other text.
HARMLESS = re.compile(r"|true|false|yes|no|on|off|none|null|\d{1,5}|/.*", re.IGNORECASE | re.DOTALL)
_SHORT = 6


class Masker:
    """Replaces known secrets in texts and in nested data.

    :param public: names that are printed anyway (user, database, project). A
        password equal to one of them cannot be hidden, only garble the text.
    """

    def __init__(self, secrets: Iterable[str] = (), public: Iterable[str] = ()) -> None:
        self._public = {name for name in public if name}
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str | None) -> None:
        """Know one more secret, in the forms in which it can appear."""
        if not secret or secret in self._public:
            return
        forms = (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1])
        self._secrets.update(forms)
        self._pattern = None

    def add_environment(self, environment: Mapping[str, str]) -> None:
        """Know the secrets of a container by the names of its variables and by its URLs."""
        for name, value in environment.items():
            if SECRET_NAME.search(name) and not HARMLESS.fullmatch(value):
                self.add(value)
            for match in re.finditer(r"://[^\s/@:]*:([^\s/@]+)@", value):
                self.add(match.group(1))

    def text(self, value: str) -> str:
        """Return the text without secrets."""
        if self._pattern is None and self._secrets:
            # Longest first: a secret may contain another one.
            found = sorted(self._secrets, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(_exact, found)))
        if self._pattern is not None:
            value = self._pattern.sub(MASK, value)
        return URL_PASSWORD.sub(rf"\g<head>{MASK}", value)

    def data(self, value: Any) -> Any:
        """Return nested data with every text in it masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.data(key): self.data(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.data(item) for item in value]
        return value


def _exact(secret: str) -> str:
    """A short secret is masked as a whole word only, or it would eat other words."""
    escaped = re.escape(secret)
    return rf"(?<!\w){escaped}(?!\w)" if len(secret) < _SHORT else escaped
