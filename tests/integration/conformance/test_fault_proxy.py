"""The fault proxy between real sockets: each verb does to a connection what it says, and nothing is left behind."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from itertools import count
from typing import Any

import pytest

from standpipe.testing import FaultProxy

SECONDS = 10.0


class Echo:
    """A server that sends back what it is sent, and keeps what it got on each connection and how it ended."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.got: list[bytearray] = []
        self.ends: list[str] = []
        self.changed = threading.Condition()
        self.open: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with self.changed:
                    self.got.append(bytearray())
                    self.open.append(connection)
                self.threads.append(threading.Thread(target=self._serve, args=(connection, self.got[-1]), daemon=True))
                self.threads[-1].start()

    def _serve(self, connection: socket.socket, got: bytearray) -> None:
        end = "fin"
        try:
            while data := connection.recv(65536):
                with self.changed:
                    got += data
                    self.changed.notify_all()
                connection.sendall(data)
        except OSError:
            end = "rst"
        connection.close()
        with self.changed:
            self.ends.append(end)
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], Any]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, SECONDS)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(SECONDS)


@pytest.fixture
def echo() -> Iterator[Echo]:
    with closing(Echo()) as server:
        yield server


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", echo.port, seed=7) as made:
        yield made


@pytest.fixture
def connect(proxy: FaultProxy) -> Iterator[Callable[[], socket.socket]]:
    with ExitStack() as opened:

        def make() -> socket.socket:
            return opened.enter_context(socket.create_connection(proxy.address, SECONDS))

        yield make


Connect = Callable[[], socket.socket]


def said(client: socket.socket, data: bytes) -> bytes:
    """What the server answers to `data`."""
    client.sendall(data)
    return received(client, len(data))


def received(client: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (data := client.recv(65536)):
        found += data
    return found


def send_without_end(client: socket.socket) -> None:
    while True:
        client.sendall(bytes(1000))


def says_nothing(client: socket.socket, seconds: float = 0.1) -> bool:
    client.settimeout(seconds)
    try:
        return client.recv(1) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(SECONDS)


def test_without_a_fault_everything_goes_through_in_both_directions(proxy: FaultProxy, connect: Connect) -> None:
    data = os.urandom(3_000_000)
    client = connect()
    sender = threading.Thread(target=client.sendall, args=(data,))
    sender.start()
    assert received(client, len(data)) == data
    sender.join()
    now = proxy.wait_for(lambda now: now.to_client >= len(data), SECONDS)  # what has been sent is counted a moment later
    assert (now.accepted, now.open, now.to_upstream, now.to_client) == (1, 1, len(data), len(data))


def test_the_end_of_one_side_reaches_the_other_and_the_connection_is_forgotten(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    client = connect()
    assert said(client, b"hello") == b"hello"
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    echo.wait_for(lambda: echo.ends == ["fin"])
    proxy.wait_for(lambda now: now.open == 0)


@pytest.mark.parametrize(("how", "end"), [("rst", "rst"), ("fin", "fin")])
def test_a_cut_ends_open_connections_on_both_sides_and_new_ones_work(
    proxy: FaultProxy, echo: Echo, connect: Connect, how: Any, end: str
) -> None:
    client = connect()
    said(client, b"hello")
    assert proxy.cut(how) == 1
    if how == "rst":
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    else:
        assert client.recv(1) == b""
    echo.wait_for(lambda: echo.ends == [end])
    assert said(connect(), b"again") == b"again"
    proxy.wait_for(lambda now: now.cut == 1)


def test_a_cut_in_one_direction_leaves_the_other_open(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    client = connect()
    said(client, b"hello")
    proxy.cut("fin", direction="to_client")
    assert client.recv(1) == b""
    client.sendall(b" still there")
    echo.wait_for(lambda: bytes(echo.got[0]) == b"hello still there")


def test_a_connection_is_cut_in_the_middle_of_a_send(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    proxy.cut_after(1000)
    client = connect()
    with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
        send_without_end(client)
    echo.wait_for(lambda: echo.ends == ["rst"])
    assert len(echo.got[0]) == 1000
    assert said(connect(), bytes(5000)) == bytes(5000)


def test_an_answer_is_cut_off(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    client = connect()
    assert said(client, bytes(500)) == bytes(500)
    proxy.cut_after(3, "fin", direction="to_client")
    client.sendall(b"12345")
    assert received(client, 5) == b"123"
    assert len(echo.got[0]) == 505


def test_refused_connections_are_refused_and_open_ones_stay(proxy: FaultProxy, connect: Connect) -> None:
    client = connect()
    said(client, b"hello")
    proxy.refuse()
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            connect()
    assert said(client, b"still") == b"still"
    proxy.accept()
    assert said(connect(), b"new") == b"new"


def test_a_delay_is_kept_in_each_direction(proxy: FaultProxy, connect: Connect) -> None:
    client = connect()
    said(client, b"hello")
    proxy.delay(0.1)
    began = time.monotonic()
    said(client, b"hello")
    assert time.monotonic() - began >= 0.2


def test_a_throttled_connection_takes_its_time(proxy: FaultProxy, connect: Connect) -> None:
    client = connect()
    proxy.throttle(50_000, direction="to_client")
    began = time.monotonic()
    assert said(client, bytes(10_000)) == bytes(10_000)
    assert time.monotonic() - began >= 0.15


def test_a_black_hole_tells_nobody_anything_and_resets_once_it_is_healed(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    client, other = connect(), connect()
    said(client, b"hello")
    said(other, b"other")
    proxy.black_hole()
    client.sendall(b"lost")
    proxy.wait_for(lambda now: now.swallowed == 4)
    assert says_nothing(client)
    other.close()
    late = connect()
    late.sendall(b"late")
    assert says_nothing(late)
    assert echo.ends == []
    proxy.heal()
    for each in (client, late):
        with pytest.raises(ConnectionResetError):
            each.recv(1)
    echo.wait_for(lambda: len(echo.ends) == 3)
    assert said(connect(), b"back") == b"back"


def test_a_peer_that_stops_reading_blocks_the_sender_and_loses_nothing(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    client = connect()
    said(client, b"hello")
    proxy.stop_reading(direction="to_upstream")
    client.settimeout(0.2)
    sent = 0
    with suppress(TimeoutError):
        while sent < 100_000_000:
            sent += client.send(bytes(65536))
    assert sent < 100_000_000
    proxy.heal()
    echo.wait_for(lambda: len(echo.got[0]) == 5 + sent)


def test_corrupted_bytes_differ_in_single_bits_and_are_counted(proxy: FaultProxy, connect: Connect) -> None:
    proxy.corrupt(100, direction="to_client")
    answer = said(connect(), bytes(10_000))
    wrong = [byte for byte in answer if byte]
    assert len(wrong) == proxy.wait_for(lambda now: now.to_client == len(answer)).corrupted
    assert 50 <= len(wrong) <= 200
    assert all(byte & (byte - 1) == 0 for byte in wrong)


def test_a_connection_to_an_upstream_that_is_not_there_is_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with FaultProxy("127.0.0.1", port) as proxy:
        with pytest.raises(ConnectionResetError), socket.create_connection(proxy.address, SECONDS) as client:
            client.recv(1)
        proxy.wait_for(lambda now: now.unreachable == 1)


def test_new_connections_can_be_led_somewhere_else(proxy: FaultProxy, connect: Connect) -> None:
    with closing(Echo()) as second:
        proxy.forward_to("127.0.0.1", second.port)
        assert said(connect(), b"moved") == b"moved"
        assert bytes(second.got[0]) == b"moved"


def test_verbs_from_many_threads_while_clients_come_and_go_leave_nothing_behind(echo: Echo) -> None:
    before = len(os.listdir("/proc/self/fd"))
    over = threading.Event()
    failures: list[BaseException] = []
    with FaultProxy("127.0.0.1", echo.port) as proxy:

        def mistreat(number: int) -> None:
            verbs: list[Callable[[], object]] = [
                proxy.cut,
                lambda: proxy.cut("fin", direction="to_client"),
                proxy.refuse,
                proxy.accept,
                proxy.black_hole,
                lambda: proxy.cut_after(10),
                proxy.heal,
            ]
            try:
                for turn in count():
                    verbs[(turn + number) % len(verbs)]()
                    if turn > 100 and proxy.statistics().accepted > 10:
                        return
            except BaseException as error:
                failures.append(error)

        def come_and_go() -> None:
            while not over.is_set():
                with suppress(OSError), socket.create_connection(proxy.address, 0.05) as client:
                    client.sendall(bytes(100))
                    client.settimeout(0.01)
                    client.recv(100)

        clients = [threading.Thread(target=come_and_go) for _ in range(3)]
        verbs = [threading.Thread(target=mistreat, args=(n,)) for n in range(3)]
        for thread in clients + verbs:
            thread.start()
        for thread in verbs:
            thread.join()
        over.set()
        for thread in clients:
            thread.join()
        proxy.heal()
        proxy.wait_for(lambda now: now.open == 0)
    assert failures == []
    echo.wait_for(lambda: len(echo.ends) == len(echo.got))
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_closed_proxy_says_so_and_can_be_closed_again(echo: Echo) -> None:
    proxy = FaultProxy("127.0.0.1", echo.port)
    client = socket.create_connection(proxy.address, SECONDS)
    said(client, b"hello")
    proxy.close()
    proxy.close()
    with closing(client), pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(RuntimeError, match="is closed; make a new one"):
        proxy.cut()


def test_a_child_process_does_not_keep_connections_of_its_parent_open(proxy: FaultProxy, echo: Echo, connect: Connect) -> None:
    client = connect()
    said(client, b"hello")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    try:
        proxy.cut("rst")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    finally:
        os.close(writing)
        assert os.waitpid(child, 0)[1] == 0


def test_nothing_can_be_asked_that_makes_no_sense(proxy: FaultProxy) -> None:
    with pytest.raises(ValueError, match="write 0 or more"):
        proxy.cut_after(-1)
    with pytest.raises(ValueError, match="use stop_reading"):
        proxy.throttle(0)
    with pytest.raises(ValueError, match="write 1 or more"):
        proxy.corrupt(0)
    with pytest.raises(TimeoutError, match=r"did not happen within 0\.01 s"):
        proxy.wait_for(lambda now: now.cut > 0, timeout=0.01)
