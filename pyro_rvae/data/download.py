"""One download, checked."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from .atomic import atomic

__all__ = ["download"]


def download(url: str, sha256: str, path: str | Path, *, timeout: float = 60.0) -> Path:
    """Fetches a file from `url` to `path`, if its SHA-256 is the expected one.

    The bytes go to a temporary file, which takes the name `path` only when it is whole and right; nothing
    is left behind otherwise, and what stood at `path` still does.

    :param sha256: 64 hexadecimal digits.
    :param timeout: seconds without an answer after which the attempt is given up.
    :returns: `path`.
    :raises ValueError: if what came has another checksum, or the URL is of no web page.
    :raises ConnectionError: if it could not be fetched.
    """
    path = Path(path)
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"downloads are from http:// or https://, got {url!r}")
    request = urllib.request.Request(url, headers={"User-Agent": "pyro_rvae"})
    digest = hashlib.sha256()
    with atomic(path) as file:
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                while block := response.read(1 << 20):
                    digest.update(block)
                    file.write(block)
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise ConnectionError(
                f"{url} could not be downloaded ({error}): look at the network, try again"
            ) from error
        if digest.hexdigest() != sha256.lower():
            raise ValueError(
                f"{url} gave a file with SHA-256 {digest.hexdigest()}, expected {sha256.lower()}: it was cut "
                "short or has changed, and was not kept; try again, or put a copy in place by hand"
            )
    return path
