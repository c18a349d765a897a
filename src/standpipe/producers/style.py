"""From what an author wrote and a user configured to what the engine needs to know."""

from __future__ import annotations

import inspect
from typing import Any

from standpipe.delivery.retry import RetryPolicy
from standpipe.delivery.settings import Settings
from standpipe.producers.config import BaseProducerConfig

PREFETCH = 256
"""Messages that the worker takes from the queue at once for `_send`: enough to make the lock's cost small."""


class Style:
    """Which methods an author wrote."""

    def __init__(self, batch: bool, asynchronous: bool, completion: bool = False) -> None:
        self.batch = batch
        self.asynchronous = asynchronous
        self.completion = completion


def style_of(producer: Any, base: Any) -> Style:
    """One message, batches, or completion; ordinary functions or coroutines. Raises TypeError for what is none of these."""
    if producer._submit is not base._submit:
        return _completion_style(producer)
    batch = producer._send_batch is not base._send_batch
    if not batch and producer._send is base._send:
        raise TypeError(f"{producer.__name__} has neither _send nor _send_batch; a producer needs one of them")
    names = ("_connect", "_send_batch" if batch else "_send", "_close")
    coroutines = [inspect.iscoroutinefunction(getattr(producer, name)) for name in names]
    if any(coroutines) and not all(coroutines):
        ordinary = [name for name, is_coroutine in zip(names, coroutines, strict=True) if not is_coroutine]
        raise TypeError(f"{producer.__name__}: {' and '.join(ordinary)} must be `async def`, as the other methods are")
    return Style(batch, all(coroutines))


def _completion_style(producer: Any) -> Style:
    coroutines = [name for name in ("_connect", "_submit", "_poll", "_close") if inspect.iscoroutinefunction(getattr(producer, name))]
    if coroutines:
        raise TypeError(f"{producer.__name__}: {' and '.join(coroutines)} cannot be `async def`; a producer with _submit has no event loop")
    return Style(batch=True, asynchronous=False, completion=True)


def settings_of(config: BaseProducerConfig, style: Style, atomic: bool, destination: str) -> Settings:
    """What the engine needs to know. `atomic`: the producer's promise about its batches; `destination`: for people."""
    retry = RetryPolicy(config.max_retries, config.retry.initial, config.retry.factor, config.retry.max, config.reconnect_wait)
    in_batches = style.batch
    # What has been taken from the queue cannot be dropped, expire or be slowed down any more: then one at a time.
    careful = config.queue.on_full == "drop_oldest" or config.deadline is not None or config.rate_limit is not None
    prefetch = 1 if careful or style.asynchronous else PREFETCH
    # A batch in which a message may arrive although an earlier one did not cannot keep a total order.
    alone = config.ordering == "fifo" and not atomic
    return Settings(
        name=config.name,
        destination=destination,
        retry=retry,
        ordering=config.ordering,
        max_resets=config.max_resets,
        deadline=config.deadline,
        batch_messages=prefetch if not in_batches else 1 if alone else config.batch.max_messages,
        batch_bytes=config.batch.max_bytes,
        linger=config.batch.linger if in_batches else 0.0,
        rate_limit=config.rate_limit,
        exclusive=style.asynchronous or (in_batches and not atomic),
        singly=not in_batches and not style.asynchronous,
    )
