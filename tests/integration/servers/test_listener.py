"""What listens on a thread of the tests leaves nothing open behind, whenever it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket

import pytest

from tests.servers.listener import HOST, Listener


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)


def test_what_was_said_before_the_end_arrives() -> None:
    async def answer_and_leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 1_000_000)

    listener = Listener("leaving", 0, answer_and_leave)
    listener.start()
    with contextlib.closing(listener), socket.create_connection((HOST, listener.port)) as client:
        assert sum(len(data) for data in iter(lambda: client.recv(2**16), b"")) == 1_000_000


def test_connections_are_dropped_and_new_ones_taken() -> None:
    listener = Listener("echo", 0, echo)
    listener.start()
    with contextlib.closing(listener):
        for _ in range(2):
            with socket.create_connection((HOST, listener.port)) as client:
                client.sendall(b"hello")
                assert client.recv(100) == b"hello"
                listener.drop()
                assert client.recv(100) == b""


@pytest.mark.filterwarnings("error")
def test_connections_that_come_at_the_end_are_closed_as_well() -> None:
    for _ in range(100):
        listener = Listener("echo", 0, echo)
        listener.start()
        with contextlib.ExitStack() as clients:
            for _ in range(4):
                clients.enter_context(socket.create_connection((HOST, listener.port)))
            listener.close()
    gc.collect()
