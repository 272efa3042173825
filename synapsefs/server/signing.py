"""Signatures with the root's secret: object URLs and bearer tokens, both without state."""

from __future__ import annotations

import base64
import contextlib
import hmac
import json
import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path


class SignatureRefusedError(Exception):
    """A signature is wrong or has expired; the text says which and nothing else."""


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """What is generated once for a root and shared by all its servers."""

    key: str
    token: str
    api_key: str


def load_secret(root: Path) -> Secret:
    """Read the secret of `root`, creating it when it is not there.

    Parameters
    ----------
    root
        Directory of the server; it must exist.

    Returns
    -------
    Secret
        The same for every process that asks.
    """
    path = root / "secret"
    if not path.exists():
        _create_secret(path)
    return Secret(**json.loads(path.read_text()))


def _create_secret(path: Path) -> None:
    """Write a new secret under a temporary name and publish it unless somebody was faster."""
    fresh = {
        "key": secrets.token_hex(32),
        "token": f"syn_{secrets.token_urlsafe(24)}",
        "api_key": f"key_{secrets.token_urlsafe(24)}",
    }
    temporary = path.with_name(f"secret.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(fresh, file)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()


class Signer:
    """Signs and verifies with one key.

    Parameters
    ----------
    key
        The secret key.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def sign(self, method: str, resource: str, expires: int, **claims: str) -> str:
        """Sign a permission.

        Parameters
        ----------
        method
            The one HTTP method that is allowed.
        resource
            The decoded path that is allowed.
        expires
            Unix time in seconds from which the permission is void.
        **claims
            What else is bound; order does not matter.

        Returns
        -------
        str
            The signature, safe in a URL.
        """
        return self._digest(json.dumps(["url", method, resource, expires, sorted(claims.items())]))

    def verify(
        self, signature: str, method: str, resource: str, expires: int, **claims: str
    ) -> None:
        """Check a signature made by :meth:`sign`.

        Raises
        ------
        SignatureRefusedError
            It is not the signature of exactly this, or has expired.
        """
        right = self.sign(method, resource, expires, **claims)
        if not hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace")):
            raise SignatureRefusedError("The signature does not match this request.")
        if expires <= time.time():
            raise SignatureRefusedError("The request has expired.")

    def name(self, kind: str, credential: str) -> str:
        """Return a stable name for a credential, in hex; nobody can guess the credential by it."""
        text = json.dumps(["name", kind, credential])
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def issue(self, subject: str, lifetime: float, **more: str) -> str:
        """Issue a bearer token.

        Parameters
        ----------
        subject
            Whom it names.
        lifetime
            Seconds it is good for.
        **more
            Further claims.

        Returns
        -------
        str
            The token; any number of tokens are good at the same time.
        """
        expires = time.time() + lifetime
        claims = {**more, "sub": subject, "exp": expires, "jti": secrets.token_hex(8)}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        return f"{payload}.{self._digest(f'bearer.{payload}')}"

    def subject(self, token: str) -> str | None:
        """Return whom a bearer token names, or None when it is not, or no longer, good."""
        claims = self.claims(token)
        return str(claims["sub"]) if claims is not None else None

    def claims(self, token: str) -> dict[str, Any] | None:
        """Return what a bearer token says, or None when it is not, or no longer, good."""
        payload, _, signature = token.partition(".")
        right = self._digest(f"bearer.{payload}")
        if not hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace")):
            return None
        claims: dict[str, Any] = json.loads(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        )
        return claims if claims["exp"] > time.time() else None

    def _digest(self, text: str) -> str:
        digest = hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


SIGNER: Final = web.AppKey("signer", Signer)
