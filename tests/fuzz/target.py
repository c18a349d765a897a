"""The fuzzer's process: `python -m tests.fuzz.target KIND [options of libFuzzer] [folders with inputs]`.

The code under test is instrumented while it is imported, so nothing else imports this file.
"""

from __future__ import annotations

import importlib
import sys
import zlib
from typing import Any

atheris: Any = importlib.import_module("atheris")  # has no types, and is not there on every platform

with atheris.instrument_imports(include=["standpipe.spool"]):
    opening = importlib.import_module("tests.fuzz.opening")


def main(arguments: list[str]) -> None:
    """Fuzz one kind of file until the number of runs, or what breaks the property, is reached. Does not return."""
    kind = arguments.pop(1)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        """Like the built-in one; two of three get checksums that are right, or little would ever get beyond them."""
        changed: bytes = atheris.Mutate(data, max_size)
        return opening.mended(kind, changed)[:max_size] if seed % 3 else changed

    def check(data: bytes) -> None:
        opening.check_turn(kind, data, zlib.crc32(data) % opening.TURNS)

    atheris.Setup(arguments, check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
