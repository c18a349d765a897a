"""The package that `standpipe new producer` writes: a small HTTP producer that works, tests with the real engine, and one of every
promise that a producer makes."""

from __future__ import annotations


def producer_package(name: str) -> dict[str, str]:
    """The files of the package for type `name` (lower-case letters, digits and `-`), by path."""
    words = {
        "@type@": name,
        "@project@": f"standpipe-{name}",
        "@module@": f"standpipe_{name.replace('-', '_')}",
        "@class@": "".join(word.capitalize() for word in name.split("-")) + "Producer",
    }
    return {_filled(path, words): _filled(text, words) for path, text in _FILES.items()}


def _filled(text: str, words: dict[str, str]) -> str:
    for mark, word in words.items():
        text = text.replace(mark, word)
    return text


_PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "@project@"
version = "0.1.0"
description = "A Standpipe producer of type @type@"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["standpipe"]

[project.optional-dependencies]
test = ["pytest"]

# This makes `type: @type@` known to every Standpipe that is installed beside this package.
[project.entry-points."standpipe.producers"]
@type@ = "@module@:@class@"

[tool.setuptools.packages.find]
where = ["src"]

[tool.setuptools.package-data]
@module@ = ["py.typed"]

[tool.pytest.ini_options]
pythonpath = ["src"]
"""

_README = """\
# @project@

A Standpipe producer. Queueing, retries, reconnecting, order, receipts,
dead letters and shutdown are Standpipe's; this package only knows how to talk to one service.

```yaml
producers:
  - type: @type@
    name: my-@type@
    url: https://example.com/events
    token: ${env:TOKEN}
```

`src/@module@/__init__.py` holds the three methods: change them into what your service needs. As it stands it posts each
message as JSON. Work on it:

```sh
python -m pip install -e '.[test]'
python -m pytest                # its own tests, and one of every promise that a producer makes
standpipe list producers        # names @type@
```
"""

_PRODUCER = '''\
"""Posts each message as JSON to a URL."""

from __future__ import annotations

import http.client
import json
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from standpipe.core.errors import Reject, RetryAfter
from standpipe.producers.base import BaseProducer, BaseProducerConfig

__all__ = ["@class@", "@class@Config"]


class @class@Config(BaseProducerConfig):
    """What can be configured, beside what every producer has (retries, queue, ...)."""

    url: str = Field(description="where messages are posted to")
    token: SecretStr | None = Field(default=None, description="sent as a bearer token; never logged")

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname:
            raise ValueError(f"{value!r} is not a URL to post to; write for example https://example.com/events")
        return value


class @class@(BaseProducer):
    """Posts each message as JSON to a URL."""

    config_model: ClassVar[type[BaseProducerConfig]] = @class@Config
    config: @class@Config

    # All three methods are called from one thread, never at the same time: a connection needs no locks.
    _connection: http.client.HTTPConnection | None = None

    def _connect(self) -> None:
        """Open the connection; raise if it cannot be opened. It is tried again, with growing delays."""
        url = urlsplit(self.config.url)
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(url.hostname or "", url.port, timeout=self.config.send_timeout)
        self._connection.connect()

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        """Send one message. Returning claims success; raising anything means that it is tried again."""
        if self._connection is None:
            raise ConnectionError("not connected")
        headers = {"Content-Type": "application/json", "X-Is-Error": str(is_error).lower()}
        if self.config.token is not None:
            headers["Authorization"] = f"Bearer {self.config.token.get_secret_value()}"
        url = urlsplit(self.config.url)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._connection.request("POST", target, json.dumps(message).encode(), headers)
        response = self._connection.getresponse()
        response.read()
        _judge(response)

    def _close(self) -> None:
        """Release everything; may be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _judge(response: http.client.HTTPResponse) -> None:
    """What an answer means for the message."""
    if response.status < 300:
        return
    if response.status in (429, 503):  # too busy: come back when it says
        seconds = response.headers.get("Retry-After", "")
        raise RetryAfter(float(seconds) if seconds.isdigit() else 1.0)
    if 400 <= response.status < 500 and response.status not in (401, 403, 404, 408):
        raise Reject(f"the service answered {response.status} {response.reason}")  # never going to be taken: a dead letter
    raise ConnectionError(f"the service answered {response.status} {response.reason}")
'''

_SERVICE = '''\
"""A service on this machine to test against: it answers with the statuses it is told, then with 200, and remembers what it got."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Service(ThreadingHTTPServer):
    """Keeps each message with whether it was an error message, in the order of arrival."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, Any], bool]] = []
        self.answers: list[int] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/events"

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections are cut on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    server: Service

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return  # cut in the middle
        status = self.server.answers.pop(0) if self.server.answers else 200
        if status == 200:
            self.server.received.append((json.loads(body), self.headers["X-Is-Error"] == "true"))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass
'''

_CONFTEST = """\
from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from service import Service


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield service
        service.shutdown()
        thread.join()
"""

_TEST = '''\
"""The producer with Standpipe's real engine, against a real HTTP server on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from service import Service
from standpipe.delivery.receipt import State

from @module@ import @class@, @class@Config


@pytest.fixture
def producer(service: Service) -> Iterator[@class@]:
    retry = {"initial": "10ms", "max": "50ms"}
    config = @class@Config.model_validate({"type": "@type@", "name": "test", "url": service.url, "retry": retry})
    with @class@(config) as producer:
        yield producer


def test_a_message_is_delivered(service: Service, producer: @class@) -> None:
    receipt = producer.produce(is_error=False, message={"data": "example"})
    assert receipt.wait(10) is State.DELIVERED
    assert service.received == [({"data": "example"}, False)]


def test_a_failed_message_is_tried_again_until_it_is_delivered(service: Service, producer: @class@) -> None:
    service.answers = [500, 500]
    receipt = producer.produce(is_error=True, message={"data": "example"})
    assert receipt.wait(10) is State.DELIVERED
    assert producer.statistics().attempts == 3


def test_a_message_that_is_never_going_to_be_taken_becomes_a_dead_letter(service: Service, producer: @class@) -> None:
    service.answers = [422]
    receipt = producer.produce(is_error=False, message={"data": "nonsense"})
    assert receipt.wait(10) is State.DEAD_LETTERED
    assert producer.produce(is_error=False, message={"data": "good"}).wait(10) is State.DELIVERED
    assert [letter.content() for letter in producer.dead_letters] == [{"data": "nonsense"}]
'''

_TEST_CONFORMANCE = '''\
"""The producer keeps Standpipe's promises: one test for each, with connections that are cut, refused and frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from service import Service
from standpipe.testing import Arrival, Subject

from @module@ import @class@, @class@Config


class @class@Subject(Subject[@class@Config]):
    """Tells the conformance kit how to find out what has arrived."""

    def __init__(self, service: Service) -> None:
        super().__init__(@class@, @class@Config(type="@type@", name="test", url=service.url, token="not-to-be-logged"))
        self.service = service

    def read_back(self) -> Iterator[Arrival]:
        for message, is_error in list(self.service.received):
            yield Arrival(message, is_error)


def test_keeps_the_promise(conformance: Callable[..., None], service: Service) -> None:
    conformance(@class@Subject(service))
'''

_FILES = {
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    "src/@module@/__init__.py": _PRODUCER,
    "src/@module@/py.typed": "",
    "tests/service.py": _SERVICE,
    "tests/conftest.py": _CONFTEST,
    "tests/test_producer.py": _TEST,
    "tests/test_conformance.py": _TEST_CONFORMANCE,
}
