"""What our connection does on the wire, against a server that only notes it down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from nats import errors

from standpipe.producers.addresses import HostPort
from standpipe.producers.nats_client import ServerClient
from tests.integration.nats.streams import config

INFO = b'INFO {"server_id":"x","version":"2.10.0","headers":true,"max_payload":1048576}\r\n'


def with_notes(work: Callable[[ServerClient, HostPort], Awaitable[None]], *, refuses: bytes = b"-") -> bytes:
    """Everything that a server gets from a connection to which `work` is done; it answers every PING. At a line that begins with
    `refuses` it ends the connection, as when a login expires."""
    notes = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        while line := await reader.readline():
            notes.extend(line)
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
            if line.startswith(refuses):
                writer.write(b"-ERR 'User Authentication Expired'\r\n")
                break
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host = HostPort(*server.sockets[0].getsockname()[:2])
        client = ServerClient(config(f"nats://{host}", "noted"))
        try:
            await work(client, host)
        finally:
            await client.close()
            server.close()
            await server.wait_closed()

    asyncio.run(run())
    return bytes(notes)


def test_server_is_asked_after_what_it_is_asked_about_was_sent() -> None:
    async def work(client: ServerClient, host: HostPort) -> None:
        await client.open(host)
        await client.publish("orders", b"one")
        await client.confirm(5)

    after_login = with_notes(work).split(b"PING\r\n", 1)[1]
    assert after_login.index(b"PUB orders") < after_login.index(b"PING")


def test_nothing_that_was_not_sent_leaves_when_the_connection_is_closed() -> None:
    async def work(client: ServerClient, host: HostPort) -> None:
        await client.open(host)
        await client.publish("orders", b"given up")

    assert b"given up" not in with_notes(work)


@pytest.mark.parametrize("opened", [True, False])
def test_closing_twice_or_before_anything_was_opened_is_nothing_special(opened: bool) -> None:
    async def work(client: ServerClient, host: HostPort) -> None:
        if opened:
            await client.open(host)
        await client.close()

    with_notes(work)


def test_connection_that_ends_while_it_is_opened_is_given_up_at_once_and_says_why() -> None:
    async def work(client: ServerClient, host: HostPort) -> None:
        await client.open(host)
        async with asyncio.timeout(5):
            with pytest.raises(errors.Error, match="authentication expired"):
                await client.read_acknowledgements("inbox.*", lambda *_: None, seconds=60)

    with_notes(work, refuses=b"SUB")


def test_question_whether_all_was_read_ends_with_the_connection() -> None:
    async def work(client: ServerClient, host: HostPort) -> None:
        await client.open(host)
        await client.publish("orders", b"one")
        async with asyncio.timeout(5):
            with pytest.raises(TimeoutError):
                await client.confirm(60)
            with pytest.raises(errors.ConnectionClosedError):
                await client.confirm(60)

    with_notes(work, refuses=b"PUB")
