"""Errors of releases, see docs/how-to/reload.md."""

from __future__ import annotations

from procorch.errors.base import AgentError, known


@known
class ReloadError(AgentError):
    """A reload was given up, and the release before serves on (N19).

    `instance` is the number of the instance whose new process failed; `release` that of the
    release which was tried; `remote_traceback` the traceback of its start.

    Example:
        >>> ReloadError("the new release does not start", agent="solver").is_retryable
        False
    """

    instance: int | None = None
    release: int | None = None

    def _describe(self) -> str:
        return f"{self._who()} could not be reloaded"
