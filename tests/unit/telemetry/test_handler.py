"""The handler that ships a program's own log."""

from __future__ import annotations

import json
import logging
import logging.config
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from standpipe.app.log_handler import StandpipeHandler
from standpipe.core.errors import ConfigurationError
from standpipe.producers.base import BaseProducer, BaseProducerConfig


class Shelf(BaseProducer):
    """Keeps what it is sent; does nothing until `open` is set."""

    def __init__(self, **settings: Any) -> None:
        self.kept: list[tuple[bool, dict[str, Any]]] = []
        self.open = threading.Event()
        self.open.set()
        super().__init__(BaseProducerConfig(type="shelf", name="logs", **settings))

    def _connect(self) -> None: ...

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        self.open.wait(10)
        logging.getLogger("client.of.the.service").info("sent")
        self.kept.append((is_error, message))

    def _close(self) -> None: ...


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with Shelf() as shelf:
        yield shelf


@pytest.fixture
def log(shelf: Shelf) -> Callable[[StandpipeHandler], logging.Logger]:
    def log(handler: StandpipeHandler) -> logging.Logger:
        logger = logging.Logger("shop")
        logger.addHandler(handler)
        return logger

    return log


Log = Callable[[StandpipeHandler], logging.Logger]


def test_a_record_becomes_a_message_and_errors_are_error_messages(shelf: Shelf, log: Log) -> None:
    logger = log(StandpipeHandler(shelf))
    logger.info("order %d accepted", 17)
    try:
        raise ValueError("no stock")
    except ValueError:
        logger.exception("order failed", stack_info=True)
    assert shelf.flush(5) == 0
    (first_is_error, first), (second_is_error, second) = shelf.kept
    assert (first_is_error, second_is_error) == (False, True)
    assert {name: first[name] for name in ("level", "logger", "message")} == {
        "level": "INFO",
        "logger": "shop",
        "message": "order 17 accepted",
    }
    assert first["time"].endswith("Z")
    assert "ValueError: no stock" in second["exception"]
    assert second["stack"].startswith("Stack")
    assert "extra" not in first


def test_fields_given_as_extra_are_kept_whatever_they_are(shelf: Shelf, log: Log) -> None:
    logger = log(StandpipeHandler(shelf))
    logger.info("paid", extra={"order": 17, "amounts": [1.5, float("nan")], "where": Path("a/b"), "by": {3: "x"}})
    logger.info("odd", extra={"huge": 2**80, "broken": "\ud800"})
    assert shelf.flush(5) == 0
    assert shelf.kept[0][1]["extra"] == {"order": 17, "amounts": [1.5, None], "where": "a/b", "by": {"3": "x"}}
    odd = shelf.kept[1][1]
    assert (odd["message"], str(2**80) in odd["extra"], "\\ud800" in odd["extra"]) == ("odd", True, True)


def test_a_full_queue_refuses_at_once_and_is_counted() -> None:
    with Shelf(queue={"max_messages": 2}) as shelf:
        shelf.open.clear()
        handler = StandpipeHandler(shelf)
        logger = logging.Logger("shop")
        logger.addHandler(handler)
        for number in range(5):
            logger.info("line %d", number)
        assert handler.refused == 3
        shelf.open.set()
        assert shelf.flush(5) == 0
    logger.info("too late")
    assert handler.refused == 4


def test_what_is_logged_about_the_delivery_is_not_delivered(shelf: Shelf) -> None:
    handler = StandpipeHandler(shelf)
    logger = logging.Logger("standpipe.delivery")
    logger.addHandler(handler)
    logger.warning("cannot connect")
    assert handler.left_out == 1
    assert shelf.statistics().accepted == 0


def test_a_record_that_cannot_be_formatted_harms_nobody(shelf: Shelf, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger = log(StandpipeHandler(shelf))
    logger.info("%d", "not a number")
    logger.info("next")
    assert shelf.flush(5) == 0
    assert [message["message"] for _, message in shelf.kept] == ["next"]


def test_logging_shutdown_delivers_although_the_delivery_itself_is_logged() -> None:
    class Chatty(Shelf):
        def _connect(self) -> None:
            logger.info("connecting")

    producer = Chatty(shutdown_timeout=5.0)
    handler = StandpipeHandler(producer)
    handler._made = producer
    logger = logging.Logger("client")
    logger.addHandler(handler)
    logger.info("first")
    logging.shutdown([lambda: handler])
    now = producer.statistics()
    assert (now.delivered, now.pending) == (now.accepted, 0)


def test_dict_config_makes_the_producer_and_closing_delivers(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    shipped = {"class": "standpipe.StandpipeHandler", "producer": {"type": "file", "name": "log", "path": str(path)}, "level": "INFO"}
    loggers = {"till": {"handlers": ["shipped"]}}
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "handlers": {"shipped": shipped}, "loggers": loggers})
    logger = logging.getLogger("till")
    logger.setLevel("DEBUG")
    logger.info("open", extra={"till": 3})
    logger.debug("left out")
    (handler,) = logger.handlers
    logger.removeHandler(handler)
    handler.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["message"], line["extra"]) for line in lines] == [("open", {"till": 3})]


def test_the_producer_of_a_configuration_file_is_used_and_nothing_else_of_it_runs(tmp_path: Path) -> None:
    config = tmp_path / "standpipe.yaml"
    config.write_text(
        f"state_dir: {tmp_path}/state\n"
        f"producers:\n  - {{type: file, name: log, path: {tmp_path}/log.jsonl, queue: {{type: spool}}}}\n"
        "agents:\n  - {type: generator, name: numbers, count: 3}\n"
        "pipelines:\n  - {name: lines, from: numbers, routes: [{to: log}]}\n"
    )
    handler = StandpipeHandler("log", config=config)
    logger = logging.Logger("shop")
    logger.addHandler(handler)
    logger.info("open")
    handler.close()
    assert [json.loads(line)["message"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == ["open"]
    assert (tmp_path / "state" / "spool" / "log").is_dir()


@pytest.mark.parametrize(
    ("producer", "config", "said"),
    [
        ("log", None, "name the configuration file as well"),
        ({"type": "fiel", "name": "x"}, None, "did you mean 'file'"),
        ({"type": "file", "name": "x"}, None, "path"),
        ("lok", "standpipe.yaml", "there is no producer named 'lok'; there are: log"),
    ],
)
def test_settings_that_cannot_be_used_are_a_clear_error(
    producer: Any, config: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "standpipe.yaml").write_text("producers:\n  - {type: 'null', name: log}\n")
    with pytest.raises(ConfigurationError, match=said):
        StandpipeHandler(producer, config=config)
