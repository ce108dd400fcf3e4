"""The error of making bundles."""

from __future__ import annotations

from registry.errors import EdgewardError


class BundleFailedError(EdgewardError):
    """A bundle cannot be made of this."""

    code = "bundle.failed"
    http_status = 500
    retry = "never"
