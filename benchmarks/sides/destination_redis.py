"""Messages as entries of a Redis stream, a thousand commands together; every answer is read."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import hiredis
import orjson
import redis

from benchmarks.case import Measurement, Params
from benchmarks.sides.delivery import MEMORY, deliver, spool
from benchmarks.sides.message import MESSAGE
from benchmarks.sides.redis_server import URL, stream
from benchmarks.sides.watch import Watch
from standpipe.producers.redis import RedisProducer
from standpipe.producers.redis_config import RedisProducerConfig

WARM_UP = 2000

Send = Callable[[range], None]


def redis_py_pipeline(params: Params) -> Measurement:
    """redis-py at its best: pipelines without a transaction, of as many commands as Standpipe has in a batch."""
    with stream(params["messages"] + WARM_UP) as name, closing(redis.Redis.from_url(URL)) as client:

        def send(numbers: range) -> None:
            pipeline = client.pipeline(transaction=False)
            for number in numbers:
                pipeline.xadd(name, {"message-id": f"{number:032x}", "payload": orjson.dumps(MESSAGE)})
            pipeline.execute()

        return _timed(send, params)


def hiredis_by_hand(params: Params) -> Measurement:
    """No client: commands packed and answers parsed by hiredis on a plain socket."""
    with stream(params["messages"] + WARM_UP) as name, socket.create_connection(("127.0.0.1", 6379)) as sock:
        reader, pack = hiredis.Reader(), hiredis.pack_command

        def send(numbers: range) -> None:
            commands: list[Any] = [
                pack(("XADD", name, "*", "message-id", f"{number:032x}", "payload", orjson.dumps(MESSAGE)))  # type: ignore[arg-type]
                for number in numbers
            ]
            sock.sendall(b"".join(commands))
            left = len(numbers)
            while left:
                reply = reader.gets()
                if reply is False:
                    reader.feed(sock.recv(2**16))
                elif isinstance(reply, Exception):
                    raise reply
                else:
                    left -= 1

        return _timed(send, params)


def _timed(send: Send, params: Params) -> Measurement:
    messages, batch = params["messages"], params["batch"]

    def send_all(count: int) -> None:
        for start in range(0, count, batch):
            send(range(start, min(start + batch, count)))

    send_all(WARM_UP)
    watch = Watch()
    send_all(messages)
    return watch.measured(messages)


def standpipe(params: Params) -> Measurement:
    """`produce`, with the queue in memory; a batch is a transaction, as it is by default."""
    return _standpipe(params, MEMORY)


def standpipe_spool(params: Params) -> Measurement:
    """`produce`, with a `written` spool."""
    return _standpipe(params, spool(params))


def standpipe_deduplicate(params: Params) -> Measurement:
    """`produce`, and the server remembers the ids."""
    with closing(redis.Redis.from_url(URL)) as client:
        return _standpipe(params, MEMORY, lambda name: _forget(client, name), deduplicate=60)


def _standpipe(params: Params, queue: dict[str, Any], end: Callable[[str], object] = str, **settings: Any) -> Measurement:
    with stream(params["messages"] + WARM_UP) as name:
        given = {"name": "bench", "url": URL, "stream": name, "batch": {"max_messages": params["batch"]}, "queue": queue, **settings}
        found = deliver(RedisProducer(RedisProducerConfig.model_validate(given)), params["messages"], WARM_UP)
        end(name)
        return found


def _forget(client: Any, name: str) -> None:
    """The ids would be gone after a minute."""
    keys = list(client.scan_iter(f"standpipe:seen:{name}:*", count=10_000))
    for start in range(0, len(keys), 10_000):
        client.unlink(*keys[start : start + 10_000])
