"""What errors of NATS and its client mean for the messages."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from nats import errors

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError
from standpipe.producers.error_table import ErrorRow, ErrorTable
from standpipe.producers.tls_errors import certificate_rows

NO_STREAM_PAUSE = 5.0
"""Seconds until a subject without a stream is tried again: a cluster that chooses a leader has none for a few seconds."""
DENIED_PAUSE = 60.0
"""Seconds until a subject that the user may not publish to is tried again: somebody has to change rights."""
FULL_PAUSE = 1.0
"""Seconds that a full stream is left alone: its readers may make room at any moment."""
STORAGE_PAUSE = 5.0
"""Seconds that a server without storage is left alone."""
BUSY_PAUSE = 0.1
"""Seconds that a stream with too much to do is left alone: it catches up as fast as its disk writes."""


class NoStream(Exception):
    """no stream has the subject, or it has no leader at the moment"""


class NoStreamForIt(Exception):
    """the server says that no stream has the subject, which a field of the message decides"""


class Denied(Exception):
    """the user may not publish to the subject"""


class DeniedForIt(Exception):
    """the user may not publish to the subject, which a field of the message decides"""


class InboxDenied(Exception):
    """the user may not read the acknowledgements"""


class NotAnAcknowledgement(Exception):
    """something that is no stream answered"""


class TooLarge(Exception):
    """the message is larger than the server takes"""


class ConnectTimeout(Exception):
    """the server did not get ready in time"""


class EndedAtOnce(Exception):
    """the server ended the connection while it was being opened"""


class Ended(Exception):
    """the connection has ended: whatever the reason, what was on its way may have arrived"""


class Refused(Exception):
    """a stream refused the message: `code` is JetStream's `err_code`, `status` its `code`"""

    def __init__(self, code: int, status: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code
        self.status = status


def _refused(*codes: int) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, Refused) and error.code in codes


def _unavailable(error: BaseException) -> bool:
    return isinstance(error, Refused) and error.status >= 500


def _busy(error: BaseException) -> bool:
    return isinstance(error, Refused) and error.status == 429


def _says(*words: str) -> Callable[[BaseException], bool]:
    def match(error: BaseException) -> bool:
        text = str(error).lower()
        return isinstance(error, errors.Error) and any(word in text for word in words)

    return match


ERRORS = ErrorTable(
    "NATS",
    ErrorRow(
        "wrong user, password, token, key or credentials",
        lambda error: isinstance(error, errors.AuthorizationError) or _says("authorization violation", "authentication")(error),
        Misconfigured,
        "the server refuses the login; correct user and password, token, nkey_seed or credentials_file",
        seconds=DENIED_PAUSE,
    ),
    *certificate_rows("server"),
    ErrorRow(
        "the server has no TLS, and the configuration wants it",
        errors.SecureConnWantedError,
        Misconfigured,
        "the server does not encrypt, and nothing is sent without; have TLS enabled there, or leave out tls and tls://",
    ),
    ErrorRow(
        "the user may not publish to a subject that the configuration names",
        Denied,
        Misconfigured,
        "the user may not publish there; give it the permission, or correct subject",
        seconds=DENIED_PAUSE,
    ),
    ErrorRow(
        "the user may not publish to a subject that a field of the message decides",
        DeniedForIt,
        Reject,
        "the user may not publish to the subject that the message's fields make; give it the permission, or correct the field",
    ),
    ErrorRow(
        "the user may not read acknowledgements",
        InboxDenied,
        Misconfigured,
        "the user may not subscribe to the acknowledgements; allow it, or set inbox_prefix to what it may read",
        seconds=DENIED_PAUSE,
    ),
    ErrorRow(
        "no stream has the subject",
        lambda error: isinstance(error, NoStream) or _refused(10059)(error),
        Misconfigured,
        "no stream takes the subject at the moment; create one, for example with: nats stream add NAME --subjects SUBJECT",
        seconds=NO_STREAM_PAUSE,
    ),
    ErrorRow(
        "no stream has the subject, and `no_stream` says `reject`",
        NoStreamForIt,
        Reject,
        "no stream has the subject; add it to a stream, or correct the message",
    ),
    ErrorRow(
        "another stream has the subject (10060)",
        _refused(10060),
        Misconfigured,
        "another stream than the expected one has the subject; correct stream, error_stream or the subject",
    ),
    ErrorRow(
        "message larger than the server or the stream takes (10054), or headers over 64 KiB (10097)",
        lambda error: isinstance(error, (TooLarge, errors.MaxPayloadError)) or _refused(10054, 10097)(error),
        Reject,
        "the message is larger than max_payload of the server or max_msg_size of the stream; raise it, or send less",
    ),
    ErrorRow(
        "the stream is full and its policy is to discard new messages, or its disk is (10077)",
        _refused(10077),
        RetryAfter,
        "the stream stores nothing at the moment; have messages read or removed, raise its limits, or look at the server's disk",
        seconds=FULL_PAUSE,
    ),
    ErrorRow(
        "the server's or the account's storage is used up (10002, 10023, 10028, 10047)",
        _refused(10002, 10023, 10028, 10047),
        RetryAfter,
        "the storage of the server or the account is used up; remove messages, or raise its limits",
        seconds=STORAGE_PAUSE,
    ),
    ErrorRow(
        "the stream is sealed (10109), or JetStream is not enabled (10035, 10039, 10076)",
        _refused(10109, 10035, 10039, 10076),
        Misconfigured,
        "the stream is sealed, or JetStream is not enabled for this account; choose another stream, or enable it",
    ),
    ErrorRow("the stream has too much to do (429)", _busy, RetryAfter, "the stream has too much to do", seconds=BUSY_PAUSE),
    ErrorRow(
        "JetStream is not available at the moment (5xx)",
        _unavailable,
        RetryAfter,
        "JetStream is not available at the moment, as while a leader is chosen",
        seconds=FULL_PAUSE,
    ),
    ErrorRow("a stream refuses for another reason", Refused, NotSent, "the stream refused the message"),
    ErrorRow(
        "something that is no stream answers",
        NotAnAcknowledgement,
        SendError,
        "what answered is no stream: somebody replies to messages of this subject; set stream, or choose another subject",
    ),
    ErrorRow("the host name is unknown", socket.gaierror, NotSent, "the host name cannot be resolved; check the host in url, and DNS"),
    ErrorRow(
        "no connection can be opened, or not within `connect_timeout`",
        (ConnectTimeout, ConnectionRefusedError),
        NotSent,
        "the server cannot be reached; check the host and the port in url, and whether the server runs",
    ),
    ErrorRow(
        "the server ends the connection while it is being opened",
        lambda error: isinstance(error, EndedAtOnce) or _says("expecting info")(error),
        NotSent,
        "the server ended the connection at once; check the port in url, tls and tls_first, and look into its log",
    ),
    ErrorRow("the TLS handshake fails", ssl.SSLError, NotSent, "the server does not speak TLS as expected; check tls and tls_first"),
    ErrorRow(
        "the server has too many connections",
        _says("maximum connections", "maximum account"),
        NotSent,
        "the server takes no more connections; raise max_connections there",
    ),
    ErrorRow(
        "the connection ends, or no sign of life comes",
        (OSError, EOFError, errors.Error, Ended),
        Disconnected,
        "the connection ended before the message was acknowledged",
    ),
)
