"""`standpipe demo`."""

from __future__ import annotations


def demo() -> None:
    """Watch it work."""
