"""What becomes of messages after every kind of answer."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import orjson
import pytest

from standpipe.delivery.receipt import Receipt, State
from standpipe.delivery.statistics import ProducerStatistics
from standpipe.producers.http import HttpProducer
from standpipe.producers.http_config import HttpProducerConfig
from tests.integration.http.answering import AnsweringServer, Received, Reply, answering
from tests.servers.waiting import until

QUICK: dict[str, Any] = {"retry": {"initial": 0.01, "max": 0.05}, "reconnect_wait": 0.1, "send_timeout": 5.0, "shutdown_timeout": 5.0}
OK = Reply()


def producer(server: AnsweringServer, path: str = "/in", /, **settings: Any) -> HttpProducer:
    return HttpProducer(HttpProducerConfig.model_validate({"name": "hook", "url": server.url + path, **QUICK, **settings}))


def settled(made: HttpProducer) -> ProducerStatistics:
    assert made.flush(20) == 0, made.statistics()
    return made.statistics()


def wait(receipt: Receipt) -> State:
    receipt.wait(20)
    return receipt.state


# --- delivered --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_2xx_delivers_and_the_receipt_has_its_details(status: int) -> None:
    raw = f"HTTP/1.1 {status} Fine\r\nX-Request-Id: r-1\r\n" + ("\r\n" if status == 204 else "Content-Length: 2\r\n\r\nok")
    with answering(Reply(raw=raw.encode())) as server, producer(server) as made:
        receipt = made.produce(False, {"n": 1})
        assert wait(receipt) is State.DELIVERED
        assert receipt.detail == {"status": status, "request_id": "r-1"}


def test_many_messages_go_over_few_connections_kept_open() -> None:
    with answering() as server, producer(server, concurrency=3) as made:
        for number in range(50):
            made.produce(False, {"n": number})
        assert settled(made).delivered == 50
        assert {orjson.loads(request.body)["n"] for request in server.received} == set(range(50))
        assert server.connections <= 1 + 3  # one only to see whether the server is there


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_the_method_can_be_chosen_and_a_broken_connection_is_an_attempt_that_is_counted(method: str) -> None:
    with answering(OK, Reply(raw=b"", then="close"), OK) as server, producer(server, method=method) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        assert wait(made.produce(False, {"n": 2})) is State.DELIVERED
        assert [request.method for request in server.received] == [method] * 3
        assert made.statistics().possible_duplicates == 1


@pytest.mark.parametrize("format", ["jsonl", "json_array"])
def test_a_batch_is_one_request_with_one_key(format: str) -> None:
    with answering() as server, producer(server, format=format) as made:
        receipt = made.produce_many(False, [{"n": number} for number in range(100)])
        assert wait(receipt) is State.DELIVERED
        (request,) = server.received
        assert request.body.count(b'"n":') == 100


def test_errors_go_to_their_own_url_also_out_of_one_batch() -> None:
    with answering() as server, producer(server, error_url=server.url + "/errors", format="jsonl", batch={"linger": 0.2}) as made:
        for number in range(10):
            made.produce(number % 3 == 0, {"n": number})
        assert settled(made).delivered == 10
        found = {target: [] for target in ("/in", "/errors")}  # type: dict[str, list[int]]
        for request in server.received:
            found[request.target] += [orjson.loads(line)["n"] for line in request.body.splitlines()]
        assert {target: sorted(numbers) for target, numbers in found.items()} == {"/in": [1, 2, 4, 5, 7, 8], "/errors": [0, 3, 6, 9]}


# --- tried again ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_what_was_not_processed_is_tried_again_and_no_duplicate(status: int) -> None:
    with answering(Reply(status), Reply(status), OK) as server, producer(server) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        assert (made.statistics().attempts, made.statistics().possible_duplicates) == (3, 0)


@pytest.mark.parametrize("status", [409, 500, 502, 504])
def test_what_may_have_been_processed_is_tried_again_under_the_same_key_and_counted(status: int) -> None:
    with answering(Reply(status), OK) as server, producer(server) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        first, second = server.received
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
        assert first.body == second.body
        assert made.statistics().possible_duplicates == 1


def test_the_server_says_how_long_to_wait() -> None:
    times: list[float] = []

    def script(request: Received, number: int) -> Reply:
        times.append(time.monotonic())
        return Reply(500, {"Retry-After": "1"}) if number == 0 else OK

    with AnsweringServer(script) as server, producer(server) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        assert 0.95 <= times[1] - times[0] < 10
        assert made.statistics().possible_duplicates == 1


def test_a_server_that_asks_for_an_age_does_not_hold_back_shutdown() -> None:
    with answering(Reply(429, {"Retry-After": "999999"})) as server:
        made = producer(server)
        receipt = made.produce(False, {"n": 1})
        server.wait_for(1)
        until(lambda: "asked to wait" in (made.statistics().last_error or ""))
        report = made.shutdown(timeout=0.5)
        assert report.undelivered == 1
        assert receipt.state is State.UNDELIVERED


@pytest.mark.parametrize(
    "reply",
    [
        Reply(raw=b"", then="close"),
        Reply(raw=b"", then="reset"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Le", then="close"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", then="close"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", then="reset"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf", then="close"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", then="close"),
        Reply(raw=b"\x16\x03\x01 this is not HTTP\r\n\r\n", then="close"),
        Reply(raw=b"HTTP/1.1 abc OK\r\n\r\n", then="close"),
        Reply(raw=b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n", then="close"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", then="close"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", then="close"),
    ],
    ids=[
        "closed",
        "reset",
        "headers",
        "body",
        "body-reset",
        "chunks",
        "bad-chunk",
        "no-http",
        "no-status",
        "long-header",
        "negative",
        "two-lengths",
    ],
)
def test_half_an_answer_or_none_is_no_success_and_may_be_a_duplicate(reply: Reply) -> None:
    with answering(reply, OK) as server, producer(server) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        assert len(server.received) == 2
        assert made.statistics().possible_duplicates == 1


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"], ids=["nothing", "half"])
@pytest.mark.parametrize("limit", [{"send_timeout": 0.3}, {"read_timeout": 0.3}], ids=["send_timeout", "read_timeout"])
def test_a_server_that_hangs_does_not_hold_the_message_for_ever(sent: bytes, limit: dict[str, float]) -> None:
    with answering(Reply(raw=sent, then="hang"), OK) as server, producer(server, **limit) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        assert made.statistics().possible_duplicates == 1


def test_a_slow_answer_holds_back_nobody_else() -> None:
    release = threading.Event()

    with answering(Reply(raw=b"", then="hang"), OK) as server, producer(server, send_timeout=60, concurrency=4) as made:
        slow = made.produce(False, {"n": 0})
        server.wait_for(1)
        others = [made.produce(False, {"n": number}) for number in range(1, 20)]
        assert all(wait(receipt) is State.DELIVERED for receipt in others)
        assert slow.state is not State.DELIVERED
        release.set()
        made.shutdown(timeout=0.2)


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 300
    with answering(Reply(raw=endless, then="hang"), OK) as server, producer(server, response_bytes=4096) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        assert wait(made.produce(False, {"n": 2})) is State.DELIVERED
        assert server.received[0].connection != server.received[1].connection


def test_an_answer_that_claims_to_be_compressed_is_not_unpacked() -> None:
    bomb = Reply(422, {"Content-Encoding": "gzip"}, b"\x1f\x8b this is no gzip")
    with answering(bomb) as server, producer(server) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DEAD_LETTERED
        assert server.received[0].headers["accept-encoding"] == "identity"


# --- rejected ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 410, 413, 422, 501])
def test_a_refused_message_becomes_a_dead_letter_with_the_answer(status: int) -> None:
    with answering(Reply(status, body=b'{"error":"no such field: n"}'), OK) as server, producer(server) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DEAD_LETTERED
        assert wait(made.produce(False, {"n": 2})) is State.DELIVERED
        (letter,) = made.dead_letters
        assert letter.response == '{"error":"no such field: n"}'
        assert f"the server answered {status}" in (letter.error or "")
        assert letter.attempts == 1


def test_secrets_in_an_answer_do_not_get_into_the_dead_letter() -> None:
    with answering(Reply(400, body=b"your token hush-hush-7 is fine")) as server:
        with producer(server, auth={"type": "bearer", "token": "hush-hush-7"}) as made:
            assert wait(made.produce(False, {"n": 1})) is State.DEAD_LETTERED
            (letter,) = made.dead_letters
            assert letter.response == "your token ********** is fine"
        assert server.received[0].headers["authorization"] == "Bearer hush-hush-7"


def too_large(request: Received, number: int) -> Reply:
    """Takes at most 10 messages at a time, and the one with n = 13 never."""
    if request.body.count(b"\n") > 10:
        return Reply(413, body=b"too large")
    return Reply(422, body=b"13?") if b'"n":13}' in request.body else OK


@pytest.mark.parametrize("settings", [{}, {"error_url": "/errors"}], ids=["together", "apart"])
def test_of_a_batch_only_the_message_at_fault_is_refused(settings: dict[str, str]) -> None:
    with AnsweringServer(too_large) as server:
        urls = {name: server.url + path for name, path in settings.items()}
        with producer(server, format="jsonl", batch={"linger": 0.2}, **urls) as made:
            for number in range(40):
                made.produce(number % 2 == 0, {"n": number})
            now = settled(made)
            assert (now.delivered, now.dead_lettered) == (39, 1)
            (letter,) = made.dead_letters
            assert (letter.content(), letter.response) == ({"n": 13}, "13?")
            taken = [
                orjson.loads(line)["n"] for request in server.received if too_large(request, 0) is OK for line in request.body.splitlines()
            ]
            assert sorted(taken) == [number for number in range(40) if number != 13]


def test_a_body_that_is_refused_before_it_was_read_is_rejected() -> None:
    """Servers answer 413 and close while the body is still coming."""

    def serve(listener: Any) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                if connection.recv(1000):
                    connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
                    while connection.recv(65536):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        config = {"name": "hook", "url": f"http://127.0.0.1:{listener.getsockname()[1]}/in", **QUICK}
        with HttpProducer(HttpProducerConfig.model_validate(config)) as made:
            assert wait(made.produce(False, {"text": "x" * 5_000_000})) is State.DEAD_LETTERED
            (letter,) = made.dead_letters
            assert letter.response == "too large"
        thread.join(10)


def test_a_message_without_the_field_of_the_url_is_refused_and_others_pass() -> None:
    with answering() as server, producer(server, "/users/{user}/events") as made:
        missing = made.produce(False, {"n": 1})
        escaping = made.produce(False, {"user": "../../admin"})
        good = made.produce(False, {"user": "a/b?c=d#e"})
        assert (wait(missing), wait(escaping), wait(good)) == (State.DEAD_LETTERED, State.DEAD_LETTERED, State.DELIVERED)
        assert [request.target for request in server.received] == ["/users/a%2Fb%3Fc%3Dd%23e/events"]


def test_statuses_can_be_given_another_meaning() -> None:
    settings = {"success_statuses": ["2xx", 409], "retry_statuses": [404], "pause_statuses": []}
    with answering(Reply(404), Reply(409), Reply(401)) as server, producer(server, **settings) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        assert wait(made.produce(False, {"n": 2})) is State.DEAD_LETTERED


# --- kept -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 407, 302, 307])
def test_a_fault_of_the_configuration_keeps_the_messages_and_says_what_to_do(status: int, caplog: pytest.LogCaptureFixture) -> None:
    moved = {"Location": "http://evil.example.com/?token=hush-hush"}
    with answering(Reply(status, moved), OK) as server, producer(server, pause=0.3) as made:
        receipts = [made.produce(False, {"n": number}) for number in range(3)]
        assert all(wait(receipt) is State.DELIVERED for receipt in receipts)
        assert made.statistics().possible_duplicates == 0
    text = caplog.text
    assert f"the server answered {status}" in text
    assert "hush-hush" not in text


def test_while_the_configuration_is_wrong_the_server_is_left_in_peace() -> None:
    with answering(Reply(401)) as server:
        made = producer(server, concurrency=1)
        for number in range(20):
            made.produce(False, {"n": number})
        server.wait_for(1)
        until(lambda: "correct auth" in (made.statistics().last_error or ""))
        report = made.shutdown(timeout=0.3)
        assert (report.undelivered, report.dead_lettered) == (20, 0)
        assert len(server.received) <= 2  # one more when shutdown ends the pause


# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [307, 308])
def test_redirects_within_the_server_are_followed_if_asked_for(status: int) -> None:
    def script(request: Received, number: int) -> Reply:
        return OK if request.target == "/new?x=%2F" else Reply(status, {"Location": "/new?x=%2F"})

    with AnsweringServer(script) as server, producer(server, follow_redirects=True) as made:
        assert wait(made.produce(False, {"n": 1})) is State.DELIVERED
        first, second = server.received
        assert (second.method, second.body, second.headers["idempotency-key"]) == ("POST", first.body, first.headers["idempotency-key"])


@pytest.mark.parametrize(
    ("status", "location"),
    [(302, "/new"), (301, "/new"), (303, "/new"), (307, "{other}/in"), (307, "http://[broken"), (308, ""), (307, "/in")],
)
def test_redirects_elsewhere_or_of_another_kind_or_in_a_circle_are_not_followed(status: int, location: str) -> None:
    with answering() as other, AnsweringServer() as server:
        server.script = lambda request, number: Reply(status, {"Location": location.format(other=other.url)})
        made = producer(server, follow_redirects=True, pause=30)
        made.produce(False, {"n": 1})
        until(lambda: "redirects to" in (made.statistics().last_error or ""))
        assert made.shutdown(timeout=0.2).undelivered == 1
        assert other.received == []
        assert {request.target for request in server.received} == {"/in"}


def test_cookies_of_one_answer_do_not_go_with_the_next_request() -> None:
    with answering(Reply(200, {"Set-Cookie": "session=1; Path=/"})) as server, producer(server) as made:
        for number in range(2):
            assert wait(made.produce(False, {"n": number})) is State.DELIVERED
        assert "cookie" not in server.received[1].headers
