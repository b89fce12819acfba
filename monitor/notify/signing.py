"""Signatures of Standard Webhooks: who has the key knows that a message is ours, whole, and how old it is."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence


def signed(keys: Sequence[bytes], event: str, now: float, body: bytes) -> dict[str, str]:
    """The three headers of a message, its signatures in the order of the keys; none of them without a key.

    ``event`` stays the same when it is tried again, the time does not. Full stops part what is signed, so that there
    must be none in the name.
    """
    if not keys:
        return {}
    name, time = event.replace(".", "_"), str(int(now))
    content = f"{name}.{time}.".encode() + body
    marks = (base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode() for key in keys)
    return {
        "webhook-id": name,
        "webhook-timestamp": time,
        "webhook-signature": " ".join(f"v1,{mark}" for mark in marks),
    }
