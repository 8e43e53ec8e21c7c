"""As whom this service speaks to Google: a service account's file, or the machine's own account."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import google.auth
from google.auth import exceptions
from google.oauth2 import service_account

from backends.base import AccessRefused

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_OTHERS = 0o077


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
    try:
        if Path(file).stat().st_mode & _OTHERS:
            raise AccessRefused(f"credentials_file {file} can be read by others: chmod 600 it")
        key: Credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
            file, scopes=_SCOPES
        )
    except OSError as error:
        raise AccessRefused(f"credentials_file {file} cannot be read: {error.strerror}") from error
    except (ValueError, exceptions.GoogleAuthError) as error:
        # Without the error's own words, which may quote what is in the file.
        raise AccessRefused(f"credentials_file {file} is not the key of a service account") from error
    return key
