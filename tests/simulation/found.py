"""Seeds that found something, each with what it was. They are run every time, as what a seed meant then: see `STAGES` in `plan.py`."""

from __future__ import annotations

FOUND: dict[int, dict[int, str]] = {
    0: {
        73: "messages that a power cut took out of the middle of a segment stayed pending for ever",
        284: "a message that expired freed its key twice: two messages of one key were under way at once and arrived out of order",
        1200: "a spool that could not be read for a moment was taken for a fault of the worker",
        1858: "a message whose sync had failed waited on the disk until the next one was handed over",
        23734: "what a failed sync took of a written spool was told as dropped, was not counted, and stayed pending for ever",
        65267: "what had been read from the spool before a read failed was passed over until the next start",
        500331: "an expired message that could not be put aside yet was sent after all, behind later ones of its key",
        507158: "a message held back by its own batch, which had failed as a whole, was not counted as a possible duplicate",
    },
    1: {
        1383: "a queue that spills gave the same message id to two messages, after a power cut or a failed sync took some from the disk",
        1690: "the same",
    },
    2: {
        886: "a damaged message that was the first of its segment, behind others that had been dropped, counted as lost",
        4999: "a damaged message counted as lost if those behind it had been written again after a failed sync",
    },
}
"""By stage, then by seed."""
