"""What the reasons of a broker, and errors of the connection, mean for the messages."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from paho.mqtt.client import WebsocketConnectionError

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError
from standpipe.producers.error_table import ErrorRow, ErrorTable
from standpipe.producers.mqtt_packets import Malformed
from standpipe.producers.tls_errors import certificate_rows

BUSY = 1.0
"""Seconds that a broker is left alone that has no room; MQTT has no way to say for how long."""

NAMES = {
    0x00: "success",
    0x04: "disconnect with will message",
    0x10: "no matching subscribers",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "unsupported protocol version",
    0x85: "client identifier not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x92: "packet identifier not found",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
}
"""What the specification of MQTT 5.0 calls its reasons (2.4)."""

MESSAGE_FAULTS = frozenset((0x81, 0x82, 0x90, 0x94, 0x95, 0x99))
"""Reasons with which a broker ends a connection because of one message on it."""


class Said(Exception):
    """the broker said no"""

    def __init__(self, code: int, text: str = "") -> None:
        name = NAMES.get(code, "unknown reason")
        super().__init__(f"{name}, 0x{code:02X}" + (f": {text}" if text else ""))
        self.code = code


class Refused(Said):
    """the broker refused a message (PUBACK, PUBREC, PUBCOMP)"""

    def __init__(self, code: int, text: str = "", *, chosen: bool = False) -> None:
        """`chosen`: a field of the message itself decides about its topic."""
        super().__init__(code, text)
        self.chosen = chosen


class NotAdmitted(Said):
    """the broker does not let us in (CONNACK)"""


class Ended(Said):
    """the broker ended the connection (DISCONNECT)"""


class Unfit(Exception):
    """the broker does not have what the configuration asks for"""


class ConnectTimeout(Exception):
    """the broker did not get ready in time"""


class Closed(ConnectionError):
    """the connection was closed by the other side"""


class HungUp(Exception):
    """the connection was closed by the other side before we were let in"""


class Oversize(Exception):
    """the message is larger than the broker takes"""


class Faulty(Exception):
    """the broker ends the connection because of this very message"""


def _said(kind: type[Said], *codes: int) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, kind) and error.code in codes


def _is_choice(error: BaseException) -> bool:
    return isinstance(error, Refused) and error.chosen and error.code == 0x87


ERRORS = ErrorTable(
    "MQTT",
    # --- one message --------------------------------------------------------------------------------------------------
    ErrorRow(
        "the packet is larger than the broker takes (maximum packet size), or than `max_packet_bytes`",
        Oversize,
        Reject,
        "the message is larger than the broker takes; raise the limit there (Mosquitto: max_packet_size), or send less",
    ),
    ErrorRow(
        "the broker ends the connection because of one message (found by sending those concerned one by one)",
        Faulty,
        Reject,
        "the broker ends the connection because of this message",
    ),
    ErrorRow(
        "a message is refused: topic name invalid (0x90), packet too large (0x95), payload format invalid (0x99)",
        _said(Refused, 0x90, 0x95, 0x99),
        Reject,
        "the broker refuses this message",
    ),
    ErrorRow(
        "a message is refused: not authorized (0x87), where fields of messages decide about the topic",
        _is_choice,
        Reject,
        "the user may not publish to the topic that this message names; allow it, or correct the message",
    ),
    ErrorRow(
        "a message is refused: not authorized (0x87)",
        _said(Refused, 0x87),
        Misconfigured,
        "the user may not publish to this topic; allow it, or correct topic",
    ),
    ErrorRow(
        "a message is refused: quota exceeded (0x97)",
        _said(Refused, 0x97),
        RetryAfter,
        "the broker has no room for the message; raise its limits, or have subscribers read",
        seconds=BUSY,
    ),
    ErrorRow(
        "a message is refused: packet identifier in use (0x91)",
        _said(Refused, 0x91),
        Disconnected,
        "the broker has kept what belongs to an earlier connection; connecting anew",
        arrived=False,
    ),
    ErrorRow("a message is refused for another reason", Refused, SendError, "the broker did not take the message"),
    # --- opening a connection -----------------------------------------------------------------------------------------
    ErrorRow(
        "wrong user or password (0x86), not authorized (0x87), banned (0x8A), bad authentication method (0x8C)",
        _said(NotAdmitted, 0x86, 0x87, 0x8A, 0x8C),
        Misconfigured,
        "the broker does not let us in; correct user and password, or allow client_id there",
    ),
    ErrorRow(
        "the client id is refused (0x85)",
        _said(NotAdmitted, 0x85),
        Misconfigured,
        "the broker refuses the client id; set client_id to one that it takes",
    ),
    ErrorRow(
        "the broker does not speak this version of MQTT (0x84)",
        _said(NotAdmitted, 0x84, 0x01),
        Misconfigured,
        "the broker does not speak this version of MQTT; set protocol to the other one",
    ),
    ErrorRow(
        "the broker is somewhere else now (0x9C, 0x9D)",
        _said(NotAdmitted, 0x9C, 0x9D),
        Misconfigured,
        "the broker sends us to another one; correct url",
    ),
    ErrorRow(
        "unavailable (0x88), busy (0x89), quota exceeded (0x97), connection rate exceeded (0x9F)",
        _said(NotAdmitted, 0x88, 0x89, 0x97, 0x9F),
        RetryAfter,
        "the broker has no room for another connection now",
        seconds=BUSY,
    ),
    ErrorRow("the broker does not let us in for another reason", NotAdmitted, NotSent, "the broker does not let us in"),
    ErrorRow(
        "the broker does not have what `qos` or `retain` ask for",
        Unfit,
        Misconfigured,
        "the broker does not have what the configuration asks for",
    ),
    *certificate_rows("broker"),
    ErrorRow(
        "the TLS handshake fails",
        ssl.SSLError,
        NotSent,
        "the broker does not speak TLS as expected; check the scheme and the port in url, tls.min_version and our certificate",
    ),
    ErrorRow(
        "what answers is no MQTT broker, or has no WebSocket at this path",
        (Malformed, WebsocketConnectionError),
        NotSent,
        "what answers there does not speak MQTT; check scheme, port and path in url (1883, with TLS 8883), and whether it wants mqtts://",
    ),
    ErrorRow(
        "the broker hangs up instead of letting us in",
        HungUp,
        NotSent,
        "the broker hangs up while we log in; check scheme and port in url, protocol, user and password",
    ),
    ErrorRow(
        "the host name is unknown",
        (socket.gaierror, UnicodeError),
        NotSent,
        "the host name cannot be resolved; check the host in url, and DNS",
    ),
    ErrorRow(
        "the broker cannot be reached, or is not ready within `connect_timeout`",
        (ConnectTimeout, ConnectionRefusedError, TimeoutError),
        NotSent,
        "the broker cannot be reached; check the host and the port in url, and whether it runs",
    ),
    # --- the connection -----------------------------------------------------------------------------------------------
    ErrorRow(
        "another client with our client id has taken the connection over (0x8E)",
        _said(Ended, 0x8E),
        Misconfigured,
        "another client with the same client_id has taken our place; give each its own, or leave client_id out",
    ),
    ErrorRow("the broker ends the connection", Ended, Disconnected, "the broker ended the connection"),
    ErrorRow("the connection breaks", OSError, Disconnected, "the connection broke"),
)
