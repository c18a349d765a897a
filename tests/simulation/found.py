"""Seeds that found something, each with what it was. They are run every time; a change of `plan.py` gives them other histories."""

from __future__ import annotations

FOUND = {
    284: "a message that expired freed its key twice: two messages of one key were under way at once and arrived out of order",
    73: "records that a power cut took out of the middle of a segment stayed pending for ever",
    614: "bytes of a spool that had been read to its end stayed counted",
}
