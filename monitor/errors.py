"""The exception tree, in one file so that nothing needs an import loop to raise or catch.

DriftwardenError
├── ConfigError        the configuration cannot be used (exit 78); lists every fault at once
├── ReferenceError_    the reference or its artefact cannot be used (exit 1)
├── AuditError         a table or an option of an audit cannot be used (exit 2)
├── NothingThere       no rows, or too few, for what is asked; it was asked well (exit 1)
├── StoreError         the state directory cannot be used (exit 1)
└── Refused            a delivery was refused at the door: the sender may act on it
    ├── Malformed      bytes that are not what they claim to be (HTTP 400)
    ├── UnknownModel   no such model is configured (HTTP 404)
    ├── TooLarge       a limit on body, batch, rows, columns or string length (HTTP 413)
    ├── Unauthorised   missing or wrong bearer token (HTTP 401)
    └── QueueFull      the queue is full under policy `reject` (HTTP 429, retry hint)

Each message says what is wrong, in which field, and what to do about it.
"""

from __future__ import annotations


class DriftwardenError(Exception):
    """Base of all errors that a user can act on."""

    exit_code = 1


class ConfigError(DriftwardenError):
    """The configuration cannot be used; ``faults`` lists every problem found, each with its field and its fix."""

    exit_code = 78

    def __init__(self, faults: list[str]) -> None:
        """Keep all faults, show them one a line."""
        super().__init__("\n".join(faults))
        self.faults = faults


class ReferenceError_(DriftwardenError):  # noqa: N818 N801 - `ReferenceError` is a builtin
    """The reference or its artefact cannot be read, is damaged, or does not fit the configuration."""


class AuditError(DriftwardenError):
    """A table, a column or an option of `driftwarden audit` cannot be used."""

    exit_code = 2


class NothingThere(DriftwardenError):  # noqa: N818 - nothing is broken
    """There are no rows, or too few, to make of them what is asked for."""


class StoreError(DriftwardenError):
    """The state directory cannot be opened, locked, read or written."""


class Refused(DriftwardenError):  # noqa: N818 - the sender reads it as a verdict
    """A delivery was refused before anything was accepted; ``reason`` is a closed metric label."""

    reason = "refused"
    status = 400


class Malformed(Refused):
    """The bytes are not what they claim to be."""

    reason = "malformed"
    status = 400


class UnknownModel(Refused):
    """No such model is configured."""

    reason = "unknown_model"
    status = 404


class TooLarge(Refused):
    """A limit on body, batch, rows, columns or string length was passed."""

    reason = "too_large"
    status = 413


class Unauthorised(Refused):
    """The bearer token is missing or wrong."""

    reason = "unauthorised"
    status = 401


class QueueFull(Refused):
    """The queue is full and the source's policy is `reject`; ``retry_after`` is in seconds."""

    reason = "queue_full"
    status = 429

    def __init__(self, message: str, retry_after: float) -> None:
        """Keep the hint for the Retry-After header or the Flight metadata."""
        super().__init__(message)
        self.retry_after = retry_after
