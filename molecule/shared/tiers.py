# SPDX-License-Identifier: GPL-3.0-or-later
"""The two tiers of the tests."""

from __future__ import annotations

import os

import pytest

PROOF = os.environ.get("CARRENTAL_TIER") == "proof"

# What CI leaves to "make proof", for time: it needs no more than "make test" does.
proof = pytest.mark.skipif(not PROOF, reason="exhaustive tier: make proof")
