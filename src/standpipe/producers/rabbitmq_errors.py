"""What errors of RabbitMQ and its client mean for the messages."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable

from pika import exceptions
from pika.adapters.utils import connection_workflow

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError
from standpipe.producers.error_table import ErrorRow, ErrorTable
from standpipe.producers.rabbitmq_frames import HeadersTooLarge
from standpipe.producers.tls_errors import certificate_rows

TOO_LARGE = re.compile(r"message size \d+ (?:is )?larger than (?:configured )?max size (\d+)")
"""RabbitMQ's words; the number is its `max_message_size`."""
_TOPIC = re.compile(r"access to topic '(.*)' in exchange", re.DOTALL)


class ConnectTimeout(Exception):
    """the broker did not get ready in time"""


class Returned(Exception):
    """the broker returned the message: no queue is bound for it"""


class AwaitsQueue(Exception):
    """no queue is bound for the message, and the configuration says that there will be one"""


class RouteLost(Exception):
    """messages went this way before, and now no queue takes them"""


class Refused(Exception):
    """a queue refused the message (`basic.nack`)"""

    def __init__(self, seconds: float) -> None:
        super().__init__("basic.nack")
        self.seconds = seconds


class Faulty(Exception):
    """the broker closed the channel because of this very message"""


class Oversize(Exception):
    """the message is larger than the broker takes"""


class BadId(Exception):
    """a message id that cannot be a property"""


def root_of(error: BaseException) -> BaseException:
    """What really happened, out of the layers that pika's way of connecting puts around it."""
    for _ in range(10):
        inner: object = None
        if isinstance(error, connection_workflow.AMQPConnectionWorkflowFailed):
            inner = error.exceptions[-1] if error.exceptions else None
        elif isinstance(error, connection_workflow.AMQPConnectorPhaseErrorBase):
            inner = error.exception
        elif type(error) is exceptions.AMQPConnectionError and error.args:
            inner = error.args[0]
        if not isinstance(inner, BaseException):
            return error
        error = inner
    return error


def broker_code(error: BaseException) -> int:
    """The code with which the broker closed the channel or the connection; 0: it did not."""
    if isinstance(error, (exceptions.ChannelClosedByBroker, exceptions.ConnectionClosedByBroker)):
        return int(error.reply_code)
    return 0


def refused_topic(error: BaseException) -> str | None:
    """The routing key that the user may not write, if that is what the broker says."""
    found = _TOPIC.search(str(error)) if broker_code(error) == 403 else None
    return None if found is None else found.group(1)


def _is_login(error: BaseException) -> bool:
    if isinstance(error, (exceptions.ProbableAuthenticationError, exceptions.AuthenticationError)):
        return True
    return isinstance(error, exceptions.ConnectionClosedByBroker) and "login was refused" in str(error).lower()


def _channel(*codes: int) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, exceptions.ChannelClosedByBroker) and error.reply_code in codes


def _connection(*codes: int) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, exceptions.ConnectionClosedByBroker) and error.reply_code in codes


def _is_tls(error: BaseException) -> bool:
    return isinstance(error, ssl.SSLError) or "SSLError(" in str(error) or "SSLEOFError(" in str(error)


ERRORS = ErrorTable(
    "RabbitMQ",
    # --- one message --------------------------------------------------------------------------------------------------
    ErrorRow(
        "a message is returned: no queue is bound for its routing key (`unroutable: reject`)",
        Returned,
        Reject,
        "no queue is bound for this message; bind one, or correct exchange and routing_key",
    ),
    ErrorRow(
        "a message is returned (`unroutable: wait`)",
        AwaitsQueue,
        Misconfigured,
        "no queue is bound for this message; bind one, everything waits for it",
    ),
    ErrorRow(
        "messages went to a queue before, and now there is none any more",
        RouteLost,
        Disconnected,
        "the queue is gone; connecting anew, to declare it or to wait for it",
        arrived=False,
    ),
    ErrorRow(
        "a queue refuses a message (`basic.nack`: it is full and has `x-overflow: reject-publish`)",
        lambda error: isinstance(error, Refused) and error.seconds > 0,
        RetryAfter,
        "a queue does not take the message, it is full or in trouble; read from it, or raise its limits",
        seconds=lambda error: error.seconds if isinstance(error, Refused) else 1.0,
    ),
    ErrorRow(
        "the same, where messages go to several queues: the others go on",
        Refused,
        SendError,
        "a queue does not take the message, it is full or in trouble; read from it, or raise its limits",
    ),
    ErrorRow(
        "the body is larger than the broker takes (`max_message_size`: 128 MiB, 16 MiB from RabbitMQ 4.0)",
        Oversize,
        Reject,
        "the message is larger than max_message_size of the broker; raise it there, or send less",
    ),
    ErrorRow(
        "the headers do not fit into one frame (`frame_max`, 128 KiB)",
        HeadersTooLarge,
        Reject,
        "the headers of the message do not fit into one frame; send less in headers, or raise frame_max of the broker",
    ),
    ErrorRow(
        "the message id is longer than 255 bytes, or not Unicode, or a header is not",
        BadId,
        Reject,
        "message id and headers must be Unicode, and the id at most 255 bytes; give the message another one",
    ),
    ErrorRow(
        "the broker closes the channel because of one message (found by sending those concerned one by one)",
        Faulty,
        Reject,
        "the broker refuses this message, and closes the channel because of it",
    ),
    # --- opening a connection -----------------------------------------------------------------------------------------
    *certificate_rows("broker"),
    ErrorRow(
        "the TLS handshake fails",
        _is_tls,
        NotSent,
        "the broker does not speak TLS as expected; check the scheme and the port in url, tls.min_version and our certificate",
    ),
    ErrorRow(
        "wrong user, password or certificate, or a way to log in that the broker does not offer",
        _is_login,
        Misconfigured,
        "the broker refuses the login; correct user and password in url, tls.cert_file, or auth",
    ),
    ErrorRow(
        "the virtual host does not exist, or the user may not use it",
        lambda error: isinstance(error, exceptions.ProbableAccessDeniedError) or _connection(530)(error),
        Misconfigured,
        "the broker refuses the virtual host; correct it in url (its path), or give the user permissions for it",
    ),
    ErrorRow(
        "what answers is no AMQP broker",
        (exceptions.IncompatibleProtocolError, exceptions.ProtocolSyntaxError, exceptions.ProtocolVersionMismatch),
        NotSent,
        "what answers there does not speak AMQP 0-9-1; check the port in url (5672, with TLS 5671), and whether it wants amqps://",
    ),
    ErrorRow("the host name is unknown", socket.gaierror, NotSent, "the host name cannot be resolved; check the host in url, and DNS"),
    ErrorRow(
        "the broker cannot be reached, or is not ready within `connect_timeout`",
        (ConnectTimeout, exceptions.ConnectionOpenAborted, ConnectionRefusedError, TimeoutError),
        NotSent,
        "the broker cannot be reached; check the host and the port in url, and whether it runs",
    ),
    # --- the channel and the connection -------------------------------------------------------------------------------
    ErrorRow(
        "the exchange or queue does not exist",
        _channel(404),
        Misconfigured,
        "the exchange or queue does not exist; create it, correct its name, or have it made by declare",
    ),
    ErrorRow(
        "the user may not publish to the exchange, or not declare it",
        _channel(403),
        Misconfigured,
        "the user lacks a permission; grant it",
    ),
    ErrorRow(
        "what is to be declared exists with other settings, or belongs to somebody else",
        _channel(405, 406),
        Misconfigured,
        "it is there with other settings; make declare say the same, or remove it there",
    ),
    ErrorRow(
        "the broker is being stopped, or somebody closed the connection", _connection(320), Disconnected, "the broker closed the connection"
    ),
    ErrorRow(
        "nothing is heard of the broker (heartbeats)", exceptions.AMQPHeartbeatTimeout, Disconnected, "nothing was heard of the broker"
    ),
    ErrorRow("the connection or the channel breaks", (exceptions.AMQPError, OSError), Disconnected, "the connection broke"),
)
