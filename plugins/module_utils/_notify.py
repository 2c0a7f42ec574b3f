# Copyright: Car Rental Platform Team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the collection; it may change at any time.
"""Tell people something: by Slack, by e-mail, by a webhook."""

from __future__ import annotations

import json
import smtplib
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

from . import _http, _services

_SMTP_PORT = 587
_TAKEN = range(200, 300)


class NotifyError(Exception):
    """Somebody was not told; the text says why, as the rest of a sentence."""


@dataclass(frozen=True)
class Message:
    """What is told."""

    severity: str
    event: str
    subject: str
    text: str
    facts: Mapping[str, Any]


def secret(channel: Mapping[str, Any], name: str) -> str:
    """Return the secret of a channel, from the controller or from a file of the server."""
    given = channel.get(name)
    if given:
        return str(given)
    path = channel.get(f"{name}_file")
    if not path:
        return ""
    try:
        return _services.read_secret(str(path))
    except _services.InputError as error:
        raise NotifyError(f"{path} on the server cannot be read") from error


def hears(channel: Mapping[str, Any], severity: str) -> bool:
    """Return whether a channel is told of this severity."""
    return severity in (channel.get("severities") or [severity])


def send(channel: Mapping[str, Any], message: Message, timeout: float) -> None:
    """Tell one channel.

    :raises NotifyError: the other side did not take it.
    """
    kind = channel.get("type")
    if kind == "email":
        _mail(channel, message, timeout)
    elif kind == "slack":
        text = f"*[{message.severity}] {message.subject}*\n{message.text}"
        body = {"channel": channel.get("channel", ""), "text": text}
        _post(secret(channel, "url"), body, timeout)
    elif kind == "webhook":
        body = {
            "severity": message.severity,
            "event": message.event,
            "subject": message.subject,
            "text": message.text,
            **message.facts,
        }
        _post(secret(channel, "url"), body, timeout)
    else:
        raise NotifyError(f"its type is {kind!r}, which is none of slack, email, webhook")


def _post(url: str, body: Mapping[str, Any], timeout: float) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise NotifyError("its url is no address") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NotifyError("its url is empty or no address of http or https")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    wanted = _http.Request(
        parts.hostname,
        port or (443 if tls else 80),
        path,
        tls=tls,
        timeout=timeout,
        verify=tls,
        method="POST",
        body=json.dumps(body, default=str).encode(),
    )
    try:
        answer = _http.request(wanted)
    except _http.HttpError as error:
        # The path of such an address is its secret.
        reason = str(error).replace(wanted.url, f"{parts.scheme}://{parts.hostname}")
        raise NotifyError(reason.replace(wanted.path, "/…") if len(path) > 1 else reason) from error
    if answer.status not in _TAKEN:
        raise NotifyError(f"{parts.hostname} answers {answer.status}")


def _mail(channel: Mapping[str, Any], message: Message, timeout: float) -> None:
    mail = EmailMessage()
    try:
        mail["Subject"] = f"[{message.severity}] {message.subject}".replace("\n", " ")
        mail["From"], mail["To"] = str(channel["from"]), str(channel["to"])
        mail.set_content(message.text)
        host, port = str(channel["host"]), int(channel.get("port") or _SMTP_PORT)
    except ValueError as error:
        raise NotifyError(f"it cannot be written: {error}") from error
    try:
        with smtplib.SMTP(host, port, timeout=timeout) as server:
            if channel.get("tls", True):
                server.starttls(context=_http.tls_context(verify=True))
            if channel.get("username"):
                server.login(str(channel["username"]), secret(channel, "password"))
            server.send_message(mail)
    except smtplib.SMTPException as error:
        raise NotifyError(f"{host}:{port} does not take it: {error}") from error
    except OSError as error:
        raise NotifyError(f"{host}:{port} does not answer: {error}") from error
