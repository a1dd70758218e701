"""Secrets by the name of a file: mode 0600, or a systemd credential."""

from __future__ import annotations

import os
from pathlib import Path


class SecretError(ValueError):
    """A secret's file that cannot be used: ``file`` and what was expected."""

    def __init__(self, file: str, message: str) -> None:
        super().__init__(f"{file}: {message}")
        self.file = file


def read_secret(file: str) -> str:
    """Return the one line of a secret's file. Raises SecretError for one missing, empty or open to others.

    Files below ``$CREDENTIALS_DIRECTORY`` may show their group a right to read: that is how its access list looks.
    """
    path = Path(file)
    try:
        mode = path.stat().st_mode & 0o777
        text = path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(file, f"expected a secret's file that can be read, found none ({error})") from error
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    ours = credentials is not None and path.resolve().is_relative_to(Path(credentials).resolve())
    if mode & (0o037 if ours else 0o077):
        raise SecretError(file, f"expected mode 0600, found {mode:04o}")
    if not text:
        raise SecretError(file, "expected a secret, found an empty file")
    return text
