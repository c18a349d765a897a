"""`standpipe doctor` for MQTT: what the broker and our own settings would lose, and when.

A broker of MQTT 5 says what it takes when it lets a client in. What it keeps on its disk, and who has subscribed, it says to
nobody who may only publish.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from standpipe.core.finding import Finding, Severity
from standpipe.producers.mqtt_config import MqttProducerConfig
from standpipe.producers.mqtt_errors import ERRORS
from standpipe.producers.mqtt_link import Link
from standpipe.producers.tls_findings import encryption_findings

_UNTOLD = "for a message that is too large the broker ends the connection; max_packet_bytes keeps such messages back"

_CRITICAL, _WARNING, _INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def examine(config: MqttProducerConfig, client_id: str) -> list[Finding]:
    """What would be lost when. Raises why the broker cannot be reached."""
    hosts, remedy = [config.url.host], "write mqtts:// in url, and its port (8883)"
    found = [*_delivery(config), *_identity(config), *encryption_findings(config.tls, config.encrypted, hosts, "broker", remedy)]
    if config.client_id is not None:  # to log in with it would push out the producer that is running
        client_id = f"{client_id}-examined"
    link = Link(config, client_id, lambda: False)
    try:
        link.open()
    except Exception as error:
        raise ERRORS.translate(error) from error
    finally:
        link.close(politely=True)
    return [*found, *_broker(config, link.server), *_unknowable()]


# --- what the configuration says ------------------------------------------------------------------------------------------


def _delivery(config: MqttProducerConfig) -> Iterator[Finding]:
    if config.qos == 0:
        yield Finding(
            _CRITICAL,
            "qos is 0",
            "nothing is acknowledged: what is on its way when the connection breaks is lost, although it counts as delivered",
            "qos: 1",
        )
    else:
        yield Finding(_INFO, f"qos is {config.qos}", "a message counts as delivered when the broker has acknowledged it", "")
    if not config.is_v5:
        yield Finding(
            _WARNING,
            "protocol is 3.1.1",
            "the broker cannot refuse a message: one that it does not want it acknowledges and drops, or it ends the connection; "
            "and messages have no headers",
            "protocol: 5, if the broker speaks it",
        )
        if config.qos == 2:
            yield Finding(
                _WARNING,
                "qos is 2 with protocol 3.1.1",
                f"a broker that takes fewer than {config.window} messages at once cannot say so, and Mosquitto loses the others",
                "protocol: 5, or qos: 1",
            )
        if config.error_topic is None and "is_error" not in config.field_names:
            yield Finding(
                _WARNING,
                "error messages go to the same topic as the others, and nothing marks them",
                "readers cannot tell them apart",
                "name an error_topic, or add is_error to fields",
            )
    if config.is_v5 and config.error_topic is None and config.error_header is None and "is_error" not in config.field_names:
        yield Finding(
            _WARNING,
            "error messages go to the same topic as the others, and nothing marks them",
            "readers cannot tell them apart",
            "name an error_topic, or leave error_header as it is",
        )
    if config.message_expiry is not None:
        yield Finding(
            _WARNING,
            f"message_expiry is {config.message_expiry:g} s",
            "messages that a subscriber has not got by then are dropped, although they count as delivered",
            "leave out message_expiry",
        )


def _identity(config: MqttProducerConfig) -> Iterator[Finding]:
    if config.client_id is not None:
        yield Finding(
            _WARNING,
            f"client_id is {config.client_id!r}",
            "a second process with this configuration and this one take each other's place again and again, and hardly anything is sent",
            "leave out client_id unless the broker asks for it, and give every process its own then",
        )


# --- what the broker says -------------------------------------------------------------------------------------------------


def _broker(config: MqttProducerConfig, server: dict[str, Any]) -> Iterator[Finding]:
    yield Finding(_INFO, f"{config.url} answers, and lets us in", "messages can be published if their topics are allowed", "")
    if not config.is_v5:
        yield Finding(_INFO, "the broker's limits could not be checked: MQTT 3.1.1 does not say them", _UNTOLD, "")
        return
    qos = int(server.get("MaximumQoS", 2))
    if config.qos > qos:
        yield Finding(_CRITICAL, f"the broker takes QoS {qos} at most", "nothing can be delivered", f"qos: {qos}, or another broker")
    if not server.get("RetainAvailable", 1) and config.retain is not False:
        yield Finding(_CRITICAL, "the broker retains no messages", "nothing can be delivered", "leave out retain")
    if "MaximumPacketSize" in server:
        size = server["MaximumPacketSize"]
        yield Finding(_INFO, f"the broker takes packets of {size} bytes", "larger messages become dead letters", "")
    window = min(config.window, int(server.get("ReceiveMaximum", 65_535)))
    if config.qos:
        yield Finding(_INFO, f"{window} messages are on their way at once", "so many may come twice after a connection breaks", "")


def _unknowable() -> Iterator[Finding]:
    yield Finding(
        _WARNING,
        "whether the broker keeps messages on its disk could not be checked: MQTT does not say it",
        "by default Mosquitto keeps them in memory: a restart or a crash loses what it has acknowledged and not passed on",
        "Mosquitto: persistence true, autosave_on_changes true, autosave_interval 1 (a crash may still take the last one or two)",
    )
    yield Finding(
        _INFO,
        "who has subscribed could not be checked: MQTT does not say it",
        "a message without a subscriber is dropped; one who is away gets it only with a session that the broker keeps, "
        "and only as many as its queue takes (Mosquitto: max_queued_messages, 1000)",
        "have subscribers use clean_start: false with a session expiry, and raise max_queued_messages",
    )
