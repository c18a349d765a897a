"""An independent reader of JetStream, and producers for its tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from nats.aio.client import Client

from standpipe.producers.nats import NatsProducer
from standpipe.producers.nats_config import NatsProducerConfig
from tests.servers.oracle import Found
from tests.servers.scenario import QUICK
from tests.servers.waiting import until

Result = TypeVar("Result")
WITHIN = 20.0


@dataclass(frozen=True)
class Stored:
    """A message as the stream has it."""

    sequence: int
    subject: str
    data: bytes
    headers: Mapping[str, str]


def config(url: str, name: str, **settings: Any) -> NatsProducerConfig:
    """For the subject `name`, unless told otherwise."""
    return NatsProducerConfig.model_validate({"name": name, "url": url, "subject": name, **QUICK, **settings})


def producer(url: str, name: str, **settings: Any) -> NatsProducer:
    """One with `config`."""
    return NatsProducer(config(url, name, **settings))


def with_client(url: str, work: Callable[[Client], Awaitable[Result]], **options: Any) -> Result:
    """What `work` does with a raw connection."""

    async def run() -> Result:
        client = Client()
        try:
            await client.connect(url, allow_reconnect=False, **options)
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


def ask(url: str, what: str, question: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """An answer of JetStream's, which must not be an error."""

    async def work(client: Client) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads((await client.request(f"$JS.API.{what}", orjson.dumps(question or {}), timeout=5)).data)
        if "error" in found:
            raise RuntimeError(f"{what}: {found['error']}")
        return found

    return with_client(url, work, **options)


def make_stream(url: str, name: str, *subjects: str, storage: str = "file", user_credentials: str | None = None, **settings: Any) -> None:
    """With the subjects `name` and `name.>`, unless told otherwise."""
    wanted = {"name": name, "subjects": list(subjects) or [name, f"{name}.>"], "storage": storage, "retention": "limits", **settings}
    ask(url, f"STREAM.CREATE.{name}", wanted, user_credentials=user_credentials)


def delete_stream(url: str, name: str) -> None:
    """And everything in it."""
    ask(url, f"STREAM.DELETE.{name}")


def purge(url: str, name: str) -> None:
    """Empty it."""
    ask(url, f"STREAM.PURGE.{name}")


def read(url: str, name: str, **options: Any) -> list[Stored]:
    """Everything in a stream, in order."""

    async def work(client: Client) -> list[Stored]:
        state = orjson.loads((await client.request(f"$JS.API.STREAM.INFO.{name}", b"{}", timeout=5)).data)["state"]
        found: list[Stored] = []
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def take(message: Any) -> None:
            sequence = int(message.reply.split(".")[-4])
            found.append(Stored(sequence, message.subject, message.data, message.headers or {}))
            if len(found) == state["messages"]:
                arrived.set_result(None)

        subject = client.new_inbox()  # one of its own: a consumer that was made before may still be there
        await client.subscribe(subject, cb=take)
        await client.flush()
        wanted = {"deliver_subject": subject, "ack_policy": "none", "deliver_policy": "all"}
        await client.request(f"$JS.API.CONSUMER.CREATE.{name}", orjson.dumps({"stream_name": name, "config": wanted}), timeout=5)
        if state["messages"]:
            await asyncio.wait_for(arrived, WITHIN)
        return found

    return with_client(url, work, **options)


def found_in(url: str, name: str) -> list[Found]:
    """Everything in a stream as the oracle wants it."""
    return [
        Found(each.headers["Nats-Msg-Id"], each.data, each.headers.get("message-key"), each.headers.get("is_error") == "true")
        for each in read(url, name)
    ]


def says(made: NatsProducer, *words: str) -> None:
    """Wait until the last error says all of that; no message may be lost meanwhile."""
    until(lambda: all(word in str(made.statistics().last_error) for word in words))
    assert made.statistics().dead_lettered == 0
