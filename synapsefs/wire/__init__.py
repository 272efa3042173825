"""The wire protocols: what client and server both know.

:mod:`synapsefs.wire.collections` and :mod:`synapsefs.wire.datasets` hold the pydantic models and
constants of the two services. Models ignore unknown keys and accept every reading of the
protocol that is in use, whichever side they came from.
"""

SERVER_HEADER = "X-Synapsefs-Server"
"""Response header that announces the embedded server; its value is the version."""

OWN_PREFIX = "/_synapsefs/v1"
"""Prefix of the few routes that only the embedded server has."""

BLOB_PREFIX = "/_blob"
"""Prefix of the signed object URLs of the embedded server."""
