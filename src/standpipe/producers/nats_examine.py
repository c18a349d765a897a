"""`standpipe doctor` for NATS: what the server, the stream and our own settings would lose, and when."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from standpipe.core.finding import Finding, Severity
from standpipe.producers.nats_client import ServerClient
from standpipe.producers.nats_config import DEDUPLICATING, NatsProducerConfig
from standpipe.producers.nats_errors import ERRORS
from standpipe.producers.nats_streams import ask, stream_names
from standpipe.producers.text_template import TextTemplate
from standpipe.producers.tls_findings import encryption_findings

_CRITICAL, _WARNING, _INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO

SYNC_SINCE = (2, 10)
"""The first version of the server with `sync_interval: always`."""

_FIELD = re.compile(r"\{\{|\}\}|\{[^{}]*\}")


def examine(config: NatsProducerConfig) -> list[Finding]:
    """What would be lost when. Raises why no server can be reached."""
    with ThreadPoolExecutor(1) as pool:  # the caller's thread may have a loop of its own
        found = pool.submit(asyncio.run, _examine(config)).result()
    return [*_settings(config), *found]


# --- what the configuration says ------------------------------------------------------------------------------------------


def _settings(config: NatsProducerConfig) -> Iterator[Finding]:
    if config.mode == "core":
        yield Finding(
            _CRITICAL,
            "mode is core",
            "messages are kept nowhere: they are lost when nobody listens, when a listener is slow and when the server ends, and count as "
            "delivered",
            "leave out mode, and have a stream take the subject",
        )
    elif config.message_id_header != DEDUPLICATING:
        yield Finding(
            _WARNING,
            f"message_id_header is {config.message_id_header or 'none'}",
            "the stream cannot recognise messages that come again after a lost connection, and stores them twice",
            f"leave out message_id_header, so that it is {DEDUPLICATING}",
        )
    hosts, remedy = [host.host for host in config.hosts], "write tls:// in url"
    yield from encryption_findings(config.tls, config.encrypted, hosts, "server", remedy, "the connection need not be encrypted")


# --- what the server says -------------------------------------------------------------------------------------------------


async def _examine(config: NatsProducerConfig) -> list[Finding]:
    """Every server that is named is tried, the first that answers is asked."""
    found: list[Finding] = []
    failures: list[Exception] = []
    asked = False
    for host in config.hosts:
        client = ServerClient(config)
        try:
            await client.open(host)
            if not asked:
                found += [*_server(config, client, str(host)), *await _streams(config, client)]
            asked = True
        except Exception as error:  # many layers have their own
            failures.append(ERRORS.translate(error))
            found.append(Finding(_WARNING, f"{host} cannot be reached", "messages wait when no other server answers", str(failures[-1])))
        finally:
            await client.close()
    if not asked:
        raise failures[-1]
    return found


def _server(config: NatsProducerConfig, client: ServerClient, host: str) -> Iterator[Finding]:
    yield Finding(_INFO, f"{host} answers: NATS {client.version}, messages up to {client.max_payload} bytes", "it takes us in", "")
    if config.mode == "core":
        return
    numbers = [int(number) for number in re.findall(r"\d+", client.version)[:2]]
    if tuple(numbers) < SYNC_SINCE:
        yield Finding(
            _WARNING,
            f"the server is NATS {client.version}, which cannot sync each message to its disk",
            "a power cut loses what was acknowledged in the two minutes before, or the whole stream",
            "use 2.10 or newer with sync_interval: always in its jetstream section, or a cluster with streams of 3 replicas",
        )
    else:
        yield Finding(
            _INFO,
            "sync_interval of the server could not be checked: clients are not told",
            "unless it is always, a power cut loses up to two minutes (the default) of what was acknowledged, if no other replica has it",
            "set sync_interval: always in its jetstream section, or use streams of 3 replicas",
        )


async def _streams(config: NatsProducerConfig, client: ServerClient) -> list[Finding]:
    if config.mode == "core":
        return []
    found: list[Finding] = []
    seen: set[str] = set()
    for template, expected in zip(config.subjects, config.streams, strict=True):
        if template is None:
            continue
        names = await stream_names(client, config, pattern_of(template))
        if names is None:
            return [*found, _unchecked(template.text)]
        if not names or (expected is not None and expected not in names):
            found.append(_missing(template.text, pattern_of(template), expected, names))
        for name in names:
            if name not in seen and expected in (None, name):
                seen.add(name)
                found += await _stream(config, client, name, pattern_of(template))
    return found


async def _stream(config: NatsProducerConfig, client: ServerClient, name: str, subject: str) -> list[Finding]:
    answer = await ask(client, config, f"STREAM.INFO.{name}", {})
    if answer is None or "config" not in answer:
        return [_unchecked(name)]
    return [*_takes_all(name, answer["config"], subject), *stream_findings(config, name, answer["config"])]


def _unchecked(what: str) -> Finding:
    return Finding(
        _INFO,
        f"the stream of {what} could not be checked: the server does not answer questions about streams",
        "whether it keeps what it acknowledges is not known",
        "look at: nats stream info NAME, or allow the user to ask ($JS.API.STREAM.NAMES, $JS.API.STREAM.INFO.*)",
    )


def _missing(subject: str, pattern: str, expected: str | None, names: list[str]) -> Finding:
    if names:
        what = f"the subject {subject} belongs to the stream {', '.join(names)} and not to {expected}"
        return Finding(_CRITICAL, what, "nothing can be delivered; the messages wait", "correct stream, or the subject")
    return Finding(
        _CRITICAL,
        f"no stream has the subject {subject}",
        "nothing can be delivered; the messages wait, or become dead letters (no_stream)",
        f"create one, for example with: nats stream add {expected or 'NAME'} --subjects '{pattern}' --storage file --discard new",
    )


def _takes_all(name: str, stream: dict[str, Any], subject: str) -> Iterator[Finding]:
    taken = list(stream.get("subjects") or [name])
    if not any(covers(each, subject) for each in taken):
        yield Finding(
            _WARNING,
            f"the stream {name} has the subjects {', '.join(taken)}, which is not all of {subject}",
            "messages with other subjects have no stream; they wait, or become dead letters (no_stream)",
            "add the subject to the stream, or restrict the field",
        )


def stream_findings(config: NatsProducerConfig, name: str, stream: dict[str, Any]) -> Iterator[Finding]:
    """What a stream with this configuration (as JetStream writes it) would lose."""
    if stream.get("storage") == "memory":
        yield Finding(
            _CRITICAL,
            f"the stream {name} is in memory",
            "a restart of the server loses everything in it, unless another replica goes on",
            "create it with storage file",
        )
    else:
        yield Finding(_INFO, f"the stream {name} is on disk", "a restart of the server loses nothing", "")
    if stream.get("no_ack"):
        yield Finding(
            _CRITICAL,
            f"the stream {name} acknowledges nothing (no_ack)",
            "no message ever counts as delivered; each is sent again and again",
            "create it without no_ack",
        )
    if stream.get("num_replicas", 1) < 2:
        yield Finding(
            _WARNING,
            f"the stream {name} has one replica",
            "while its server is down everything waits, and with its disk everything is lost",
            "use 3 replicas, in a cluster",
        )
    yield from _limits(name, stream)
    yield from _duplicates(config, name, stream)


def _limits(name: str, stream: dict[str, Any]) -> Iterator[Finding]:
    limits = {limit: stream.get(limit, -1) for limit in ("max_msgs", "max_bytes", "max_msgs_per_subject")}
    given = [f"{limit} {value}" for limit, value in limits.items() if value > 0]
    drops = stream.get("discard", "old") == "old"
    if limits["max_msgs_per_subject"] > 0 and not stream.get("discard_new_per_subject"):
        drops = True
    if given and drops:
        yield Finding(
            _CRITICAL if stream.get("retention") == "workqueue" else _WARNING,
            f"the stream {name} has a bound ({', '.join(given)}) and discards old messages",
            "a full stream drops its oldest messages, read or not, although they were acknowledged",
            "use discard new: then messages wait here until there is room",
        )
    else:
        bound = f"is bounded ({', '.join(given)}) and refuses what is too much" if given else "has no bound of its own"
        yield Finding(_INFO, f"the stream {name} {bound}", "nothing is dropped because it is full", "")
    if stream.get("max_age", 0) > 0:
        yield Finding(
            _INFO, f"the stream {name} keeps messages for {stream['max_age'] / 1e9:g} s (max_age)", "what is not read by then is gone", ""
        )
    if stream.get("retention") == "interest":
        yield Finding(
            _WARNING,
            f"the stream {name} keeps only what somebody is interested in (retention interest)",
            "messages that come while there is no consumer are acknowledged and dropped",
            "use retention limits or workqueue, or see to it that consumers are durable",
        )


def _duplicates(config: NatsProducerConfig, name: str, stream: dict[str, Any]) -> Iterator[Finding]:
    if config.message_id_header != DEDUPLICATING:
        return
    window, needed = stream.get("duplicate_window", 0) / 1e9, retry_horizon(config)
    if window < needed:
        yield Finding(
            _WARNING,
            f"the stream {name} recognises repetitions for {window:g} s (duplicate_window), and attempts may be {needed:g} s apart",
            "a message that was stored, and whose acknowledgement got lost, is stored twice if the next attempt comes later",
            f"set duplicate_window to {needed:g} s or more, or make send_timeout and reconnect_wait shorter",
        )
    else:
        yield Finding(_INFO, f"the stream {name} recognises repetitions for {window:g} s", "retries are not stored twice", "")


def retry_horizon(config: NatsProducerConfig) -> float:
    """Seconds from an attempt that was stored without our knowing it to the next one, when the server is there again at once:
    its time, the longest delay, and a pause after connections that failed."""
    return (config.send_timeout or 0.0) + config.retry.max + config.reconnect_wait


# --- subjects -------------------------------------------------------------------------------------------------------------


def pattern_of(template: TextTemplate) -> str:
    """All subjects that a template can make, as a subject with wildcards."""
    if template.constant is not None:
        return template.constant
    words = _FIELD.sub(lambda found: found.group()[0] if found.group() in ("{{", "}}") else "\0", template.text)
    return ".".join("*" if "\0" in word else word for word in words.split("."))


def covers(wide: str, narrow: str) -> bool:
    """Whether all subjects of `narrow` are subjects of `wide`, both with wildcards."""
    wides, narrows = wide.split("."), narrow.split(".")
    for position, word in enumerate(wides):
        if word == ">":
            return len(narrows) > position
        if position >= len(narrows) or (word != "*" and word != narrows[position]):
            return False
    return len(wides) == len(narrows)
