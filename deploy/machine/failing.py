"""Errors of making a machine a node."""

from __future__ import annotations

from registry.errors import EdgewardError


class MachineUnfitError(EdgewardError):
    """This machine cannot be made a node as it is, or a step of it failed."""

    code = "machine.unfit"
    http_status = 500
    retry = "never"
