"""`standpipe version`."""

from __future__ import annotations

from standpipe.cli.options import AsJson


def version(json: AsJson = False) -> None:
    """Show the versions of standpipe and Python, and the platform."""
    show_version(json)


def show_version(as_json: bool) -> None:
    """Print the versions, as a line or as JSON."""
    import platform

    from standpipe.cli.output import show, show_json

    found = {"standpipe": _own_version(), "python": platform.python_version(), "platform": platform.platform()}
    if as_json:
        show_json(found)
    else:
        show(f"standpipe {found['standpipe']} (Python {found['python']}, {found['platform']})")


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed_version

    try:
        return installed_version("standpipe")
    except PackageNotFoundError:
        return "(not installed)"
