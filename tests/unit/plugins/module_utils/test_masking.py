# Copyright: (c) 2026, Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that must not be returned."""

from __future__ import annotations

import pytest
from ansible_collections.carrental.ops.plugins.module_utils._masking import Masker


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password hunter2-secret!", "password ********"),
        ("hunter2%2Dsecret%21 is quoted", "hunter2%2Dsecret%21 is quoted"),
        ("hunter2-secret%21 in a URL", "******** in a URL"),
        ("postgresql://carrental:other@db:5432/x", "postgresql://carrental:********@db:5432/x"),
        ("redis://:pw@redis:6379", "redis://:********@redis:6379"),
        ("postgresql://${USER:?}:${PASSWORD:?}@db/x", "postgresql://${USER:?}:${PASSWORD:?}@db/x"),
        ("postgresql://${USER:?}:a${b@db/x", "postgresql://${USER:?}:********@db/x"),
        ("postgresql://${USER}:x${PASSWORD}@db/x", "postgresql://${USER}:********@db/x"),
        ("http://10.0.0.1:3000/path", "http://10.0.0.1:3000/path"),
        ("https://example.com/a@b", "https://example.com/a@b"),
        ("nothing here", "nothing here"),
    ],
)
def test_text(text: str, masked: str) -> None:
    assert Masker(["hunter2-secret!"]).text(text) == masked


def test_nested_data_is_masked_with_its_keys() -> None:
    masker = Masker(["s3cret-value"])
    data = {"a": ["s3cret-value", 1, None, True], "s3cret-value": {"b": ("x s3cret-value",)}}
    assert masker.data(data) == {
        "a": ["********", 1, None, True],
        "********": {"b": ["x ********"]},
    }


def test_a_short_secret_does_not_eat_other_words() -> None:
    assert Masker(["api"]).text("api rapid api-x") == "******** rapid ********-x"


def test_a_secret_that_is_a_public_name_cannot_be_hidden() -> None:
    masker = Masker(["carrental"], public=["carrental"])
    assert masker.text("database carrental") == "database carrental"


def test_a_longer_secret_is_masked_whole() -> None:
    assert Masker(["secret-a", "secret-a-and-more"]).text("secret-a-and-more") == "********"


def test_secrets_of_a_container_are_known_by_their_names() -> None:
    masker = Masker()
    masker.add_environment(
        {
            "POSTGRES_PASSWORD": "first-value",
            "MINIO_ACCESS_KEY": "second-value",
            "JWT_SECRET": "third-value",
            "DATABASE_URL": "postgresql://user:fourth-value@db/x",
            "NODE_ENV": "production",
            "TOKEN_TTL": "3600",
            "POSTGRES_PASSWORD_FILE": "/run/secrets/pg",
            "MONKEY": "banana-value",
        }
    )
    text = "first-value second-value third-value fourth-value production 3600 /run/secrets/pg"
    assert (
        masker.text(text) == "******** ******** ******** ******** production 3600 /run/secrets/pg"
    )
    assert masker.text("banana-value") == "banana-value"
