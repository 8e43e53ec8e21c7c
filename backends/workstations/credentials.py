"""As whom this service speaks to Google: a service account's file, or the machine's own account."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import google.auth
from google.auth import exceptions
from google.oauth2 import service_account

from backends.errors import AccessRefused
from backends.secret_file import read_secret

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


async def load_credentials(file: str) -> Credentials:
    """Read the file, or ask the environment, and where there is one the metadata server, in a thread.

    Raises AccessRefused.
    """
    return await asyncio.to_thread(_load, file)


def _load(file: str) -> Credentials:
    if not file:
        try:
            credentials, _ = google.auth.default(scopes=_SCOPES)
        except exceptions.GoogleAuthError as error:
            raise AccessRefused(f"there are no application default credentials here: {error}") from error
        return credentials
    content = read_secret(file)
    try:
        key: Credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            json.loads(content), scopes=_SCOPES
        )
    except (ValueError, TypeError, AttributeError, exceptions.GoogleAuthError):
        # Without the error, which may quote what is in the file.
        raise AccessRefused(f"credentials_file {file} is not the key of a service account") from None
    return key
