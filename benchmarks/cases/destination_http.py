"""HTTP requests, one for each message."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Results
from benchmarks.cases.destination_rows import destination_rows
from benchmarks.figures import Row

SIDES = {
    "standpipe": "Standpipe, memory",
    "standpipe_spool": "Standpipe, written spool",
    "aiohttp_tasks": "aiohttp",
    "httpx_async": "httpx",
    "requests_threads": "requests in threads",
}

_ROWS = destination_rows(
    SIDES,
    ("Standpipe's share of aiohttp", "standpipe", "aiohttp_tasks", 0.9),
    ("with a written spool: share of that in memory", "standpipe_spool", "standpipe", 0.7),
    ("httpx: slower by", "standpipe", "httpx_async", 1),
    ("requests in threads: slower by", "standpipe", "requests_threads", 1),
)


def _rows(results: Results) -> Iterator[Row]:
    yield from _ROWS(results)
    yield results.rate("Standpipe, JSON Lines, many messages in a request", "standpipe_lines")


DESTINATION_HTTP = Case(
    name="destination_http",
    title="HTTP, one request for each message",
    note="From the first message to the last answer, 64 requests under way at once, to a server in a process of its own that does "
    "nothing with them. Every client encodes the message and sends an idempotency key. httpx has 4 requests under way: more make it "
    "slower.",
    sides=("standpipe", "aiohttp_tasks", "standpipe_spool", "standpipe_lines"),
    rivals=("httpx_async", "requests_threads"),
    rows=_rows,
    sizes={
        "full": {"rounds": 5, "messages": 30_000, "few_messages": 5000, "concurrency": 64},
        "quick": {"rounds": 3, "messages": 10_000, "few_messages": 1000, "concurrency": 64},
        "smoke": {"rounds": 1, "messages": 50, "few_messages": 10, "concurrency": 4},
    },
)
