"""The `generator` agent: access-log lines as nginx writes them (format `combined`), for demonstrations and measurements."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import Field

from standpipe.agents.base import AgentBatch, BaseAgent, BaseAgentConfig

BATCH_LINES = 400  # some 64 KiB of lines, as a file agent reads at once
TICK = 0.02  # with a rate, lines come in portions of this many seconds: smooth to the eye, 50 wake-ups a second
MAX_BACKLOG = 1.0  # seconds a held-up generator catches up afterwards; the rest of the pause is skipped, not made good

_POOL = 4096  # different clients and requests; choosing from ready-made pieces is what makes it fast
_START = 1_767_225_600  # 2026-01-01T00:00:00Z, where the clock of a seeded run starts
_SEEDED_LINES_PER_SECOND = 1000  # how fast that clock runs when the rate is unlimited
_NEVER = 2**62  # an index no run reaches
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_METHODS = ("GET", "GET", "GET", "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD")
_PATHS = ("/", "/api/orders/{}", "/api/users/{}/cart", "/products/{}", "/static/app-{}.js", "/search?q=item+{}", "/login", "/img/{}.webp")
_CODES = (200, 200, 200, 200, 200, 200, 200, 201, 204, 301, 304, 304, 400, 401, 403, 404, 404, 429)
_ERROR_CODES = (500, 500, 502, 503, 503, 504)
_REFERERS = ("-", "-", "https://shop.example.com/", "https://www.example.org/search?q=pipe", "https://news.example.net/a/42")
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/138.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) Safari/17.5",
    "curl/8.14.1",
    "okhttp/4.12.0 (Android 15; Pixel 9)",
)
_MALFORMED = (
    "worker process 31 exited on signal 11",
    '- - - [] "" 000 -',
    '10.0.0.1 - - [broken "GET',
    "\x16\x03\x01\x00\xee",
    "{}",
)


class GeneratorConfig(BaseAgentConfig):
    """Configuration of the `generator` agent."""

    type: str = Field("generator", description="`generator`")
    rate: float = Field(1000.0, ge=0, le=1e9, allow_inf_nan=False, description="lines per second; 0 is as fast as they are taken")
    count: int | None = Field(None, ge=0, description="lines in all, after which the agent is finished; by default it never is")
    error_ratio: float = Field(0.05, ge=0, le=1, allow_inf_nan=False, description="share of lines with a status of 500 or above")
    malformed_ratio: float = Field(0.0, ge=0, le=1, allow_inf_nan=False, description="share of lines that are no access-log lines")
    seed: int | None = Field(
        None,
        description=(
            "the same seed gives the same lines, time stamps included (they start at 2026-01-01); by default every run differs, and "
            "lines carry the current time"
        ),
    )


class GeneratorAgent(BaseAgent):
    """Makes access-log lines of some 150 bytes at a steady rate. It keeps no checkpoint: a new start makes new lines."""

    config: GeneratorConfig
    config_model = GeneratorConfig

    def __init__(self, config: BaseAgentConfig, *, state: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(config, state=state, clock=clock)
        self._source = {"agent": self.config.name}
        self._lines = AccessLog(self.config.error_ratio, self.config.malformed_ratio, self.config.seed)
        self._made = 0
        self._started = 0.0
        self._paced = 0
        self._is_open = False

    @property
    def finished(self) -> bool:
        """True once `count` lines were made."""
        return self.config.count is not None and self._made >= self.config.count

    def open(self) -> None:
        """Start the clock that the rate is measured by."""
        self._is_open = True
        self._started = self._clock()
        self._paced = 0

    def read(self, timeout: float) -> AgentBatch | None:
        """The next lines that are due, waiting at most `timeout` seconds for them."""
        deadline = self._clock() + timeout
        while self._is_open and not self.finished:
            now = self._clock()
            due = self._due(now)
            if due:
                return self._make(due)
            next_time = self._next_time(now)
            if self._wait(min(deadline, next_time) - now) or next_time > deadline:
                return None
        return None

    def close(self) -> None:
        """Stop; may be called twice."""
        self._is_open = False

    def _left(self) -> int:
        return BATCH_LINES if self.config.count is None else min(BATCH_LINES, self.config.count - self._made)

    def _due(self, now: float) -> int:
        """How many lines to make now."""
        rate = self.config.rate
        if not rate:
            return self._left()
        backlog = int((now - self._started) * rate) - self._paced
        if backlog > rate * MAX_BACKLOG + 1:
            self._started = now - MAX_BACKLOG
            self._paced = 0
            backlog = int(rate * MAX_BACKLOG)
        portion = max(1, int(rate * TICK))
        return min(backlog, self._left()) if backlog >= min(portion, self._left()) else 0

    def _next_time(self, now: float) -> float:
        portion = min(max(1, int(self.config.rate * TICK)), self._left())
        # A hair more than the exact moment, which would round down to one line too few and wait again for nothing.
        return max(now, self._started + (self._paced + portion) / self.config.rate + 1e-6)

    def _make(self, count: int) -> AgentBatch:
        if self.config.seed is None:
            lines = self._lines.take(count, time.time())
        else:
            lines = self._lines.take_timed(count, _START, self.config.rate or _SEEDED_LINES_PER_SECOND, self._made)
        self._made += count
        self._paced += count
        size = sum(map(len, lines)) + count
        return self._counted(AgentBatch(lines=lines, source=self._source, size=size))


class AccessLog:
    """An endless supply of access-log lines; the same seed gives the same lines, in portions of any size."""

    def __init__(self, error_ratio: float, malformed_ratio: float, seed: int | None) -> None:
        base = random.Random(seed)
        pools, clients, requests, errors, malformed = (random.Random(base.getrandbits(64)) for _ in range(5))
        self._clients = [_client(pools) for _ in range(_POOL)]
        self._requests = [_request(pools, _CODES) for _ in range(_POOL)]
        self._failures = [_request(pools, _ERROR_CODES) for _ in range(_POOL // 4)]
        self._choose_clients = clients.choices
        self._choose_requests = requests.choices
        self._choose_failure = errors.choice
        self._choose_malformed = malformed.choice
        self._errors = _positions(error_ratio, errors)
        self._breaks = _positions(malformed_ratio, malformed)
        self._next_error = next(self._errors)
        self._next_break = next(self._breaks)
        self._index = 0

    def take(self, count: int, at: float) -> list[str]:
        """The next `count` lines, all with the time `at` (seconds since 1970)."""
        moment = f" - - [{_local_time(at)}] "
        requests = self._choose_requests(self._requests, k=count)
        end = self._index + count
        while self._next_error < end:
            requests[self._next_error - self._index] = self._choose_failure(self._failures)
            self._next_error = next(self._errors)
        lines = [client + moment + request for client, request in zip(self._choose_clients(self._clients, k=count), requests, strict=True)]
        while self._next_break < end:
            lines[self._next_break - self._index] = self._choose_malformed(_MALFORMED)
            self._next_break = next(self._breaks)
        self._index = end
        return lines

    def take_timed(self, count: int, start: float, rate: float, index: int) -> list[str]:
        """The next `count` lines as if line number `index` was written at `start + index / rate`."""
        lines: list[str] = []
        numerator, denominator = float(rate).as_integer_ratio()  # whole numbers, so that every portion rounds alike
        while count > len(lines):
            at = index + len(lines)
            second = at * denominator // numerator
            until = -(-(second + 1) * numerator // denominator)
            lines += self.take(min(count - len(lines), until - at), start + second)
        return lines


def _positions(ratio: float, source: random.Random) -> Iterator[int]:
    """Indices of a random share of an endless sequence, by drawing the gaps between them."""
    index = -1
    while True:
        index += 1 + _gap(ratio, source.random())
        yield min(index, _NEVER)


def _gap(ratio: float, draw: float) -> int:
    """How many are passed over before the next one: the geometric distribution, by inversion of a uniform draw in [0, 1)."""
    if ratio >= 1:
        return 0
    gap = math.log1p(-draw) / math.log1p(-ratio) if ratio > 0 else math.inf
    return _NEVER if gap >= _NEVER else int(gap)


def _client(source: random.Random) -> str:
    return f"{source.randint(1, 223)}.{source.randint(0, 255)}.{source.randint(0, 255)}.{source.randint(1, 254)}"


def _request(source: random.Random, codes: tuple[int, ...]) -> str:
    path = source.choice(_PATHS).format(source.randint(1, 99_999))
    code = source.choice(codes)
    size = 0 if code in (204, 304) else source.randint(120, 60_000)
    return f'"{source.choice(_METHODS)} {path} HTTP/1.1" {code} {size} "{source.choice(_REFERERS)}" "{source.choice(_AGENTS)}"'


def _local_time(at: float) -> str:
    moment = time.gmtime(at)
    return (
        f"{moment.tm_mday:02}/{_MONTHS[moment.tm_mon - 1]}/{moment.tm_year}:{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02} +0000"
    )
