"""A web application that emits an event for every order, and answers without waiting for where the events go.

    uvicorn examples.web_app:app        # or: python examples/web_app.py, which starts it, orders something and stops

The producer is made when the application starts and is shut down when it ends, which delivers what is pending.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from standpipe.producers.file import FileProducer, FileProducerConfig

EVENTS = os.environ.get("EVENTS", "events.jsonl")


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Replace the file by kafka, rabbitmq or http: the handlers stay as they are."""
    async with FileProducer(FileProducerConfig(name="orders", path=EVENTS, fields=["id", "key", "headers"])) as producer:
        app.state.events = producer
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders/{customer}")
async def order(customer: str, request: Request) -> dict[str, Any]:
    """Takes an order. `aproduce` never blocks the loop, also when the queue is full; events of one customer stay in order."""
    details = await request.json()
    traceparent = request.headers.get("traceparent")
    receipt = await app.state.events.aproduce(
        False,
        {"event": "order placed", "customer": customer, **details},
        key=customer,
        headers={"traceparent": traceparent} if traceparent else None,
    )
    return {"event": receipt.message_id}


@app.get("/health")
async def health() -> dict[str, Any]:
    """What has become of the events, for whoever watches the service."""
    now = app.state.events.statistics()
    return {"accepted": now.accepted, "delivered": now.delivered, "pending": now.pending, "error": now.last_error}


async def demonstrate() -> None:
    """Serve on a free port, place a few orders as any client would, and end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await asyncio.to_thread(place_orders, port)
        server.should_exit = True
        await serving
    print(f"{await asyncio.to_thread(count_lines, EVENTS)} events in {EVENTS}")


def count_lines(path: str) -> int:
    """What has arrived."""
    with open(path, encoding="utf-8") as lines:
        return sum(1 for _ in lines)


def place_orders(port: int) -> None:
    """Three customers order at once."""
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    clients = [threading.Thread(target=post, args=(port, f"customer-{number}", trace)) for number in range(3)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


def post(port: int, customer: str, headers: dict[str, str]) -> None:
    """Ten orders of one customer."""
    for number in range(10):
        body = json.dumps({"order": number}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/orders/{customer}", data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert "event" in json.load(answer)


if __name__ == "__main__":
    asyncio.run(demonstrate())
