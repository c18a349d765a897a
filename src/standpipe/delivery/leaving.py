"""What messages become when they leave the engine: dead letters, messages handed back, details in receipts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from standpipe.core.clock import Clock
from standpipe.core.message import Message
from standpipe.delivery.batch import Batch, Slice, lines_of
from standpipe.delivery.dead_letters import DeadLetter, Fault, Reason
from standpipe.delivery.receipt import wall_offset
from standpipe.delivery.settings import Settings


def letters_of(
    slices: Iterable[Slice], batch_of: Callable[[Slice], Batch], settings: Settings, reason: Reason, fault: Fault, clock: Clock
) -> list[DeadLetter]:
    """The messages of `slices` as dead letters; `batch_of` says which batch knows about the attempts."""
    wall, now = wall_offset(clock), clock.time()
    return [
        _letter(part, index, payload, batch, settings, reason, fault, wall, now)
        for part in slices
        for batch in (batch_of(part),)
        for index, payload in _indexed(part)
    ]


def _letter(
    part: Slice, index: int, payload: bytes, batch: Batch, settings: Settings, reason: Reason, fault: Fault, wall: float, now: float
) -> DeadLetter:
    receipt = part[0]
    more = receipt._more
    return DeadLetter(
        id=receipt._id(index),
        producer=settings.name,
        destination=settings.destination,
        reason=reason,
        is_error=receipt._is_error,
        payload=payload,
        key=receipt._key(index),
        headers=more.headers if more is not None else None,
        error=fault.error,
        traceback=fault.traceback,
        response=fault.response,
        attempts=batch.tries,
        accepted_at=receipt._accepted_at + wall,
        first_attempt_at=batch.first_attempt + wall if batch.first_attempt is not None else None,
        last_attempt_at=now,
    )


def messages_of(slices: Iterable[Slice], clock: Clock) -> list[Message]:
    """The messages of `slices`, to be handed back."""
    wall = wall_offset(clock)
    return [
        Message(receipt._id(index), receipt._is_error, payload, receipt._key(index), headers, receipt._accepted_at + wall)
        for receipt, start, stop in slices
        for headers in (receipt._more.headers if receipt._more is not None else None,)
        for index, payload in _indexed((receipt, start, stop))
    ]


def keep_details(slices: Sequence[Slice], details: Sequence[object]) -> None:
    """What the destination said about each message goes into its receipt."""
    if len(slices) == 1 and slices[0][0]._count > 1:
        slices[0][0]._keep_details(slices[0][1], details)
        return
    position = 0
    for receipt, start, stop in slices:
        if receipt._count == 1:
            receipt._detail = details[position]
        else:
            receipt._keep_details(start, details[position : position + stop - start])
        position += stop - start


def _indexed(part: Slice) -> Iterator[tuple[int, bytes]]:
    return enumerate(lines_of(part), part[1])
