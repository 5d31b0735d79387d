"""Durations and sizes as people write them, ``"30s"`` and ``"512M"``, for the commands."""

from __future__ import annotations

from procorch.supervision.units import seconds, size_in_bytes

__all__ = ["seconds", "size_in_bytes"]
