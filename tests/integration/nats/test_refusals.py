"""Servers and streams that refuse: the error says what to do, messages are kept or put aside, the others are unharmed."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from standpipe.producers.nats import NatsProducer
from standpipe.producers.nats_config import NatsProducerConfig
from tests.integration.nats.streams import (
    WITHIN,
    ask,
    config,
    delete_stream,
    make_stream,
    producer,
    purge,
    read,
    says,
    with_client,
)
from tests.servers.certificates import Certificates
from tests.servers.nats import NatsServer
from tests.servers.server import Address, free_port
from tests.servers.tls_front import TlsFront
from tests.servers.waiting import until

MakeServer = Callable[..., NatsServer]


# --- logging in -----------------------------------------------------------------------------------------------------------


def test_wrong_password_is_told_and_the_messages_wait_for_the_right_one(own_server: MakeServer, unique_name: str, tmp_path: Path) -> None:
    server = own_server(NatsServer, user="jane", password="right-word")
    make_stream(server.url, unique_name)
    queue = {"type": "spool", "path": str(tmp_path / "spool")}
    address = f"nats://127.0.0.1:{server.port}"
    with producer(address, unique_name, user="jane", password="wrong-word", queue=queue, shutdown_timeout=0.2) as made:
        made.produce(False, {"n": 1})
        says(made, "refuses the login", "password")
        assert "wrong-word" not in str(made.statistics().last_error)
    with producer(address, unique_name, user="jane", password="right-word", queue=queue) as made:
        made.start()
        assert made.flush(WITHIN) == 0
    assert len(read(server.url, unique_name)) == 1


@pytest.mark.parametrize("in_url", [True, False])
def test_token(own_server: MakeServer, unique_name: str, in_url: bool) -> None:
    server = own_server(NatsServer, token="a-token")
    url = f"nats://a-token@127.0.0.1:{server.port}"
    make_stream(url, unique_name)
    settings: dict[str, Any] = {} if in_url else {"token": "a-token"}
    with producer(url if in_url else f"nats://127.0.0.1:{server.port}", unique_name, **settings) as made:
        assert "a-token" not in made.destination
        made.produce(False, {"n": 1}).wait(WITHIN)
        assert made.statistics().delivered == 1


def connections_to(port: int) -> list[str]:
    """The sockets of this machine that are connected to it, or whose owner has not noticed yet that they are not any more."""
    established, left_by_the_other = "01", "08"
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    return [remote for _, _, remote, state, *_ in sockets if remote.endswith(f":{port:04X}") and state in (established, left_by_the_other)]


def test_refused_logins_leave_no_connection_open(own_server: MakeServer, unique_name: str) -> None:
    server = own_server(NatsServer, user="jane", password="right-word")
    with producer(f"nats://x:y@127.0.0.1:{server.port}", unique_name, shutdown_timeout=0.1) as made:
        made.produce(False, {"n": 1})
        until(lambda: made.statistics().connect_failures >= 3)
    until(lambda: connections_to(server.port) == [])


ACCOUNTS = """{{users: [
    {{user: admin, password: pw}},
    {{user: jane, password: pw, permissions: {{publish: ["{name}", "{name}.eu"], subscribe: ["mine.>"]}}}}
]}}"""


@pytest.fixture
def restricted(own_server: MakeServer, unique_name: str) -> str:
    """A server whose user `jane` may publish to `name` and `name.eu`, and read below `mine`; its address."""
    server = own_server(NatsServer, settings={"authorization": ACCOUNTS.format(name=unique_name)})
    make_stream(f"nats://admin:pw@127.0.0.1:{server.port}", unique_name)
    return f"127.0.0.1:{server.port}"


def test_user_that_may_not_read_acknowledgements_is_told_and_inbox_prefix_is_the_remedy(restricted: str, unique_name: str) -> None:
    with producer(f"nats://jane:pw@{restricted}", unique_name, shutdown_timeout=0.1) as made:
        made.produce(False, {"n": 1})
        says(made, "inbox_prefix")
    with producer(f"nats://jane:pw@{restricted}", unique_name, inbox_prefix="mine") as made:
        receipt = made.produce(False, {"n": 2})
        receipt.wait(WITHIN)
        assert receipt.delivered


def test_subject_that_the_user_may_not_publish_to_keeps_the_messages_and_says_so_at_once(restricted: str, unique_name: str) -> None:
    settings: dict[str, Any] = {"subject": f"{unique_name}.Us", "inbox_prefix": "mine", "send_timeout": 60, "shutdown_timeout": 0.1}
    with producer(f"nats://jane:pw@{restricted}", unique_name, **settings) as made:
        made.produce(False, {"n": 1})
        says(made, "may not publish", f"{unique_name}.Us".lower())


def test_subject_of_a_field_that_the_user_may_not_publish_to_is_a_dead_letter_and_the_others_arrive(
    restricted: str, unique_name: str
) -> None:
    settings: dict[str, Any] = {"subject": f"{unique_name}.{{to}}", "inbox_prefix": "mine", "send_timeout": 60}
    with producer(f"nats://jane:pw@{restricted}", unique_name, **settings) as made:
        bad = made.produce(False, {"to": "US"})
        good = made.produce(False, {"to": "eu"})
        assert made.flush(WITHIN) == 0
        assert (bad.state.name, good.delivered) == ("DEAD_LETTERED", True)
        assert "may not publish" in str(next(iter(made.dead_letters)).error)


def test_message_without_jetstream_that_the_server_throws_away_is_not_delivered(restricted: str, unique_name: str) -> None:
    settings: dict[str, Any] = {"subject": f"{unique_name}.us", "mode": "core", "shutdown_timeout": 0.1}
    with producer(f"nats://jane:pw@{restricted}", unique_name, **settings) as made:
        receipt = made.produce(False, {"n": 1})
        says(made, "may not publish")
        assert not receipt.done()


# --- streams --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants to wait so long."""
    for name in ("NO_STREAM_PAUSE", "STORAGE_PAUSE"):
        monkeypatch.setattr(f"standpipe.producers.nats_errors.{name}", 0.2)


@pytest.mark.usefixtures("quick_pauses")
def test_stream_that_is_deleted_in_mid_stream_is_waited_for(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name)
    with producer(nats_server.url, nats_name) as made:
        made.produce(False, {"n": 0}).wait(WITHIN)
        delete_stream(nats_server.url, nats_name)
        for number in range(1, 50):
            made.produce(False, {"n": number}, key="one")
        says(made, "no stream takes the subject", nats_name, "nats stream add")
        make_stream(nats_server.url, nats_name)
        assert made.flush(WITHIN) == 0
        assert (made.statistics().delivered, made.statistics().resets) == (50, 0)
    assert [json.loads(each.data)["n"] for each in read(nats_server.url, nats_name)] == list(range(1, 50))


def test_subject_of_a_field_that_no_stream_has_is_a_dead_letter_and_the_others_arrive(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name, f"{nats_name}.eu")
    with producer(nats_server.url, nats_name, subject=f"{nats_name}.{{to}}") as made:
        bad = [made.produce(False, {"to": f"mars{number}"}) for number in range(30)]
        good = made.produce(False, {"to": "eu"})
        assert made.flush(WITHIN) == 0
        assert {receipt.state.name for receipt in bad} == {"DEAD_LETTERED"}
        assert good.delivered
        assert all(f"{nats_name}.mars" in str(letter.error) for letter in made.dead_letters)


@pytest.mark.usefixtures("quick_pauses")
def test_another_stream_than_the_expected_one_is_told_and_the_messages_wait(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name)
    with producer(nats_server.url, nats_name, stream="ORDERS", shutdown_timeout=0.1) as made:
        made.produce(False, {"n": 1})
        says(made, "another stream", "10060")
    assert read(nats_server.url, nats_name) == []


def test_full_stream_that_discards_new_messages_is_waited_for_and_order_is_kept(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name, max_msgs=5, discard="new")
    with producer(nats_server.url, nats_name) as made:
        for number in range(8):
            made.produce(False, {"n": number}, key="one")
        says(made, "stores nothing at the moment", "maximum messages exceeded")
        before = read(nats_server.url, nats_name)
        purge(nats_server.url, nats_name)
        assert made.flush(WITHIN) == 0
        assert made.statistics().resets == 0
    arrived = [json.loads(each.data)["n"] for each in [*before, *read(nats_server.url, nats_name)]]
    assert arrived == list(range(8))


@pytest.mark.usefixtures("quick_pauses")
def test_server_without_storage_is_waited_for(own_server: MakeServer, unique_name: str) -> None:
    server = own_server(NatsServer, max_file_store=100_000)
    make_stream(server.url, unique_name)
    with producer(server.url, unique_name) as made:
        receipts = [made.produce(False, {"text": "x" * 9000}) for _ in range(15)]
        says(made, "storage")
        purge(server.url, unique_name)
        assert made.flush(WITHIN) == 0
        assert all(receipt.delivered for receipt in receipts)


def test_message_larger_than_the_stream_takes_is_a_dead_letter(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name, max_msg_size=1000)
    with producer(nats_server.url, nats_name) as made:
        bad = made.produce(False, {"text": "x" * 2000})
        good = made.produce(False, {"n": 1})
        assert made.flush(WITHIN) == 0
        assert (bad.state.name, good.delivered) == ("DEAD_LETTERED", True)


def test_somebody_who_answers_in_place_of_a_stream_does_not_make_a_message_delivered(nats_server: Address, nats_name: str) -> None:
    async def answer_then_check(client: Any) -> None:
        async def reply(message: Any) -> None:
            await message.respond(b"thanks")

        await client.subscribe(nats_name, cb=reply)
        await client.flush()
        with producer(nats_server.url, nats_name, shutdown_timeout=0.1) as made:
            receipt = await made.aproduce(False, {"n": 1})
            async with asyncio.timeout(WITHIN):
                while "is no stream" not in str(made.statistics().last_error):
                    await client.flush()
            assert not receipt.done()

    with_client(nats_server.url, answer_then_check)


def test_port_of_something_else_is_told(unique_name: str) -> None:
    def hang_up() -> None:
        with suppress(OSError):
            while True:
                listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        closer = threading.Thread(target=hang_up)
        closer.start()
        with producer(f"nats://127.0.0.1:{listener.getsockname()[1]}", unique_name, shutdown_timeout=0.1, connect_timeout=0.5) as made:
            made.produce(False, {"n": 1})
            says(made, "ended the connection at once", "port")
        listener.shutdown(socket.SHUT_RDWR)
        closer.join(WITHIN)


# --- addresses, certificates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("url", "words"), [(None, "cannot be reached"), ("nats://no-such-host.invalid:4222", "cannot be resolved")])
def test_server_that_cannot_be_reached_is_told_and_the_messages_wait(unique_name: str, url: str | None, words: str) -> None:
    with producer(url or f"nats://127.0.0.1:{free_port()}", unique_name, shutdown_timeout=0.1) as made:
        made.produce(False, {"n": 1})
        says(made, words)


def test_other_servers_are_tried_when_one_cannot_be_reached(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name)
    settings = {"failover": f"{nats_server.host}:{nats_server.port}"}
    with producer(f"nats://127.0.0.1:{free_port()}", nats_name, **settings) as made:
        made.produce(False, {"n": 1}).wait(WITHIN)
        assert made.statistics().delivered == 1


def deliver(given: NatsProducerConfig) -> None:
    with NatsProducer(given) as made:
        receipt = made.produce(False, {"n": 1})
        receipt.wait(WITHIN)
        assert receipt.delivered, made.statistics().last_error


def test_encrypted_connection_with_a_certificate_of_ours(own_server: MakeServer, certificates: Certificates, unique_name: str) -> None:
    server = own_server(NatsServer, tls=certificates.for_server(client_required=True))
    tls = {
        "ca_file": str(certificates.ca_file),
        "cert_file": str(certificates.client.cert_file),
        "key_file": str(certificates.client.key_file),
    }
    with producer(server.url, unique_name, tls=tls, no_stream="wait", shutdown_timeout=0.1) as made:
        made.produce(False, {"n": 1})
        says(made, "no stream takes the subject")  # it has got in
    no_certificate = {"ca_file": str(certificates.ca_file)}
    with producer(server.url, unique_name, tls=no_certificate, shutdown_timeout=0.1) as made:
        made.produce(False, {"n": 1})
        says(made, "asks for a certificate", "tls.cert_file")


@pytest.mark.parametrize("fault", ["other_ca", "expired", "wrong_host"])
def test_wrong_certificate_is_refused(own_server: MakeServer, certificates: Certificates, unique_name: str, fault: str) -> None:
    pair = {"expired": certificates.expired, "wrong_host": certificates.wrong_host}.get(fault)
    server = own_server(NatsServer, tls=certificates.for_server(pair))
    ca_file = certificates.other_ca_file if fault == "other_ca" else certificates.ca_file
    with producer(server.url, unique_name, tls={"ca_file": str(ca_file)}, shutdown_timeout=0.1) as made:
        made.produce(False, {"n": 1})
        says(made, "certificate was refused", "tls.ca_file")


def test_server_without_encryption_does_not_get_the_password(nats_server: Address, nats_name: str, certificates: Certificates) -> None:
    with producer(
        f"nats://jane:secret-word@{nats_server.host}:{nats_server.port}",
        nats_name,
        tls={"ca_file": str(certificates.ca_file)},
        shutdown_timeout=0.1,
    ) as made:
        made.produce(False, {"n": 1})
        says(made, "does not encrypt")


def test_encryption_before_the_server_says_anything(nats_server: Address, nats_name: str, certificates: Certificates) -> None:
    make_stream(nats_server.url, nats_name)
    port = free_port()
    front = TlsFront(port, nats_server.port, certificates.for_server())
    front.start()
    try:
        deliver(config(f"tls://localhost:{port}", nats_name, tls_first=True, tls={"ca_file": str(certificates.ca_file)}))
    finally:
        front.close()
    assert len(read(nats_server.url, nats_name)) == 1


def test_cluster_api_is_asked_about_streams_in_the_domain(own_server: MakeServer, unique_name: str) -> None:
    server = own_server(NatsServer)
    make_stream(server.url, unique_name, f"{unique_name}.eu")
    assert ask(server.url, "STREAM.NAMES", {"subject": f"{unique_name}.eu"})["streams"] == [unique_name]
    with producer(server.url, unique_name, subject=f"{unique_name}.{{to}}", domain="nowhere", shutdown_timeout=0.1) as made:
        made.produce(False, {"to": "mars"})
        says(made, "no stream takes the subject")  # nobody answers there: it is not rejected


def test_servers_that_the_cluster_names_are_tried_when_the_known_one_is_gone(own_server: MakeServer, unique_name: str) -> None:
    routes = [free_port(), free_port()]
    cluster = '{{name: both, listen: "127.0.0.1:{}", routes: ["nats://127.0.0.1:{}"]}}'
    first, second = (
        own_server(NatsServer, settings={"jetstream": "false", "cluster": cluster.format(*ports)}) for ports in (routes, routes[::-1])
    )
    with producer(first.url, unique_name, mode="core") as made:
        made.produce(False, {"n": 1}).wait(WITHIN)
        client: Any = made._client
        until(lambda: [host.port for host in client.neighbours] == [second.port])
        first.kill()
        receipt = made.produce(False, {"n": 2})
        receipt.wait(WITHIN)
        assert receipt.delivered
