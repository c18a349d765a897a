"""Every error Standpipe raises, as a small tree ordered by remedy.

The docstring of a class is its default message. Three classes are *raised by producer authors* to tell the engine what
to do with a message (`Reject`, `RetryAfter`, `Disconnected`); the others are raised by Standpipe to its callers.
"""

from __future__ import annotations


class StandpipeError(Exception):
    """something went wrong in Standpipe"""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message if message is not None else (type(self).__doc__ or "").split("\n")[0])


# --- what the caller can mend -----------------------------------------------------------------------------------------


class ConfigurationError(StandpipeError):
    """the configuration cannot be used

    Raised before anything is started; no queue, checkpoint or destination has been touched.
    """


class EncodingError(StandpipeError, ValueError):
    """the message cannot be encoded as JSON; it was not accepted"""


class MessageTooLarge(StandpipeError, ValueError):
    """the message can never fit into the queue; it was not accepted"""


class ProducerClosed(StandpipeError, RuntimeError):
    """the producer has been shut down and accepts no more messages; this one was not accepted"""


class QueueFull(StandpipeError, RuntimeError):
    """the queue is full and its policy is to raise; the message was not accepted

    With `on_full: block` this is raised when `full_timeout` has passed without room.
    """


# --- what a producer author raises ------------------------------------------------------------------------------------


class SendError(StandpipeError):
    """the send failed

    `response`: what the destination answered, if it did; the beginning of it is kept with a dead letter, secrets removed.
    """

    def __init__(self, message: str | None = None, *, response: str | bytes | None = None) -> None:
        super().__init__(message)
        self.response = response


class Reject(SendError):
    """the destination will never take this message: put it aside as a dead letter, do not retry"""


class RetryAfter(SendError):
    """the destination asks for a pause: send nothing for `seconds`, then try the same message again

    Does not count against `max_retries`. `seconds` is clamped to 0 ... 3600.
    """

    def __init__(self, seconds: float, message: str | None = None) -> None:
        super().__init__(message if message is not None else f"the destination asked to wait {seconds} s")
        self.seconds = seconds


class Misconfigured(RetryAfter):
    """the destination refuses what the configuration says: somebody has to mend it, and the messages wait

    Wrong credentials, missing permissions, an exchange that does not exist. Nothing is the messages' fault: they are kept and
    tried again every `seconds` (default 60, clamped to 0 ... 3600), and do not become dead letters.
    """

    def __init__(self, seconds: float = 60.0, message: str | None = None) -> None:
        super().__init__(seconds, message if message is not None else (Misconfigured.__doc__ or "").split("\n")[0])


class Disconnected(SendError):
    """the connection is gone: reset it now instead of after `max_retries`, then try the same message again

    `arrived=False` claims that nothing of the message can have reached the destination; otherwise a later delivery is
    counted as a possible duplicate.
    """

    def __init__(self, message: str | None = None, *, arrived: bool | None = None) -> None:
        super().__init__(message)
        self.arrived = arrived


class NotSent(SendError):
    """the message was certainly not sent: safe to retry without risking a duplicate"""


class ContractError(SendError):
    """a producer broke the producer contract; the messages concerned are retried, none is lost"""
