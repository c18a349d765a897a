"""A server that is killed, restarted, frozen, or behind a bad network: nothing is lost, and little comes twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from standpipe.producers.config import AnyQueueConfig
from standpipe.producers.http import HttpProducer
from standpipe.producers.http_config import HttpProducerConfig
from standpipe.testing.fault_proxy import FaultProxy
from tests.integration.http.recorder import Recorder
from tests.servers.scenario import QUICK, deliver_through_trouble

CONCURRENCY = 16
Trouble = Callable[[Recorder, FaultProxy], object]

SINGLE: dict[str, Any] = {"key_header": "message-key"}
LINES: dict[str, Any] = {"format": "jsonl", "fields": {"is_error": "is_error", "id": "@id", "key": "@key"}}


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    with Recorder(tmp_path_factory.mktemp("recorder")) as server:
        yield server


def kill(server: Recorder, proxy: FaultProxy) -> None:
    server.kill()
    threading.Event().wait(0.3)
    server.start()


def restart(server: Recorder, proxy: FaultProxy) -> None:
    server.restart()


def hang(server: Recorder, proxy: FaultProxy) -> None:
    server.freeze()
    threading.Event().wait(float(QUICK["send_timeout"]) + 0.5)
    server.thaw()


def cut_requests(server: Recorder, proxy: FaultProxy) -> None:
    for count in (0, 1, 20, 150, 400):
        proxy.cut_after(count, direction="to_upstream", times=2)
        threading.Event().wait(0.05)
    proxy.heal()


def cut_answers(server: Recorder, proxy: FaultProxy) -> None:
    for count in (0, 1, 20, 39):
        proxy.cut_after(count, direction="to_client", times=2)
        threading.Event().wait(0.05)
    proxy.cut("fin")
    proxy.heal()


def refuse(server: Recorder, proxy: FaultProxy) -> None:
    proxy.refuse()
    proxy.cut()
    threading.Event().wait(0.5)
    proxy.heal()


@pytest.mark.parametrize("settings", [SINGLE, LINES], ids=["json", "jsonl"])
@pytest.mark.parametrize("trouble", [kill, restart, hang, cut_requests, cut_answers, refuse])
def test_nothing_is_lost_and_order_per_key_is_kept(recorder: Recorder, tmp_path: Path, trouble: Trouble, settings: dict[str, Any]) -> None:
    _deliver(recorder, tmp_path, trouble, settings, "memory")


@pytest.mark.parametrize("trouble", [kill, hang])
def test_a_spool_loses_nothing_either(recorder: Recorder, tmp_path: Path, trouble: Trouble) -> None:
    _deliver(recorder, tmp_path, trouble, SINGLE, "spool")


def test_a_successor_on_the_same_spool_delivers_the_rest(recorder: Recorder, tmp_path: Path) -> None:
    _deliver(recorder, tmp_path, kill, SINGLE, "spool", successor=True)


def _deliver(
    recorder: Recorder,
    folder: Path,
    trouble: Trouble,
    settings: dict[str, Any],
    queue: Literal["memory", "spool"],
    *,
    successor: bool = False,
) -> None:
    recorder.ensure_running()
    before = len(list(recorder.taken()))
    with FaultProxy("127.0.0.1", recorder.port) as proxy:

        def make(queue_config: AnyQueueConfig) -> HttpProducer:
            given = {"name": "hook", "url": f"http://127.0.0.1:{proxy.port}/in", "queue": queue_config, "concurrency": CONCURRENCY}
            return HttpProducer(HttpProducerConfig.model_validate({**given, **settings, **QUICK}))

        oracle = deliver_through_trouble(
            make, lambda: trouble(recorder, proxy), lambda: list(recorder.taken())[before:], folder=folder, queue=queue, successor=successor
        )
    # What was under way when the trouble began may come twice; while it lasts, one request at a time is tried.
    oracle.check(duplicates=3 * CONCURRENCY)
