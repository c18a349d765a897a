"""The path of a webhook's URL is often its only secret: it is nowhere to be read."""

from __future__ import annotations

import dataclasses
import logging

import aiohttp
import pytest
from yarl import URL

from standpipe.producers.http import HttpProducer
from standpipe.producers.http_config import HttpProducerConfig
from standpipe.producers.http_errors import ERRORS, hide_target
from tests.integration.http.answering import Reply, answering
from tests.integration.http.test_answers import QUICK
from tests.servers.waiting import until

PATH = "/services/T000/hush-hush?x=1"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(raw=b"\x16\x03\x01 this is not HTTP\r\n\r\n", then="close"), "not HTTP"),
        (Reply(status=301, headers={"Location": f"https://other.test{PATH}"}), "redirects to 'https://other.test/...'"),
        (Reply(status=404, body=f"Cannot POST {PATH}".encode()), "404"),
        (Reply(raw=b"", then="close"), "without an answer"),
    ],
)
def test_path_is_in_no_error_log_line_or_dead_letter(reply: Reply, says: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "standpipe")
    with answering(*[reply] * 100) as server:
        once = {"retry": {"initial": 30}, "shutdown_timeout": 0.1}  # nothing connects while the server ends
        settings = {"name": "hook", "url": server.url + PATH, "error_url": server.url, **QUICK, **once}
        with HttpProducer(HttpProducerConfig.model_validate(settings)) as made:
            assert made.destination == f"{server.url}/..., errors: {server.url}"
            made.produce(False, {"n": 1})
            until(lambda: says in str(made.statistics().last_error) or bool(list(made.dead_letters)))
            letters = [str(dataclasses.asdict(letter)) for letter in made.dead_letters]
            told = [str(made.statistics()), *letters, *(record.getMessage() for record in caplog.records)]
    assert says in " ".join(told)
    assert "hush" not in " ".join(told)


def test_path_is_not_in_what_the_client_says_of_a_connection_that_takes_too_long() -> None:
    url = URL(f"http://127.0.0.1{PATH}", encoded=True)
    error = aiohttp.ConnectionTimeoutError(f"Connection timeout to host {url}")  # as it writes it
    hide_target(error, url)
    assert "Connection timeout to host http://127.0.0.1/...)" in str(ERRORS.translate(error))
