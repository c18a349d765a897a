"""The client: one connection to one server, which ends when it ends.

The client library reconnects by itself and keeps what could not be sent, to send it later. Here the engine decides when to
connect again and what to send again, so that nothing that it has given up leaves later: `allow_reconnect` is off, and at the
end of a connection what the client still has is thrown away. Messages are sent again under the same id.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nats import errors
from nats.aio.client import Client

from standpipe.core.errors import ConfigurationError
from standpipe.producers.addresses import HostPort
from standpipe.producers.nats_config import NatsProducerConfig
from standpipe.producers.nats_errors import ConnectTimeout, EndedAtOnce, InboxDenied
from standpipe.producers.tls import ssl_context
from standpipe.producers.tls_errors import CertificateWanted

CLOSE_MAX = 1.0
"""Seconds for ending a connection politely; a server that is frozen would make it last for ever."""
PINGS_MISSING_MAX = 1
"""Signs of life that may be missing; the next one ends the connection."""

_DENIED = re.compile(r"permissions violation for (publish|subscription) (?:to|with reply of) \"?(.+?)\"?$")

Take = Callable[[str, bytes, Mapping[str, str] | None], object]
"""Is given the subject, the data and the headers of an acknowledgement; must not raise."""


class ServerClient(Client):
    """A connection that tells when it ends, and demands encryption if it is to.

    `ended(error)` is called once, before anything is cleaned up; `denied(subject)` when the server has thrown a message away
    because the user may not publish there (the subject is in lower case: the library changes it).
    """

    def __init__(
        self,
        config: NatsProducerConfig,
        ended: Callable[[BaseException | None], object] | None = None,
        denied: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        self._tell_ended = ended
        self._tell_denied = denied
        self._opening = True
        self._over = False
        self._limits: set[asyncio.Timeout] = set()
        """of what waits for an answer of the server"""
        self._take: Take | None = None
        self._inbox_id = 0
        self.inbox_denied: str | None = None

    async def open(self, host: HostPort) -> None:
        """Connect. Raises what the first attempt met; then `close` has to be called all the same."""
        seconds = self._config.connect_timeout
        try:
            async with asyncio.timeout(seconds):
                await self.connect(**_options(host, self._config), error_cb=self._on_error)
        except TimeoutError as error:
            raise ConnectTimeout(f"connect_timeout is {seconds:g} s") from error
        except (ConnectionResetError, BrokenPipeError, EOFError) as error:
            raise EndedAtOnce(str(error) or type(error).__name__) from error
        finally:
            self._opening = False

    async def confirm(self, seconds: float) -> None:
        """Wait until the server has read everything that was sent so far. Raises TimeoutError, at once if the connection ends
        meanwhile: the library would wait for an answer all the same.

        The library's `flush` alone writes its question before what still waits to be written.
        """
        async with asyncio.timeout(seconds) as limit:
            self._limits.add(limit)
            try:
                await self._flush_pending(force_flush=True)
                await self.flush(seconds)  # type: ignore[arg-type]
            finally:
                self._limits.discard(limit)

    async def read_acknowledgements(self, inbox: str, take: Take, seconds: float) -> None:
        """Subscribe to `inbox`, and see to it that the server has done so. Raises InboxDenied, or why the connection has ended."""

        async def take_message(message: Any) -> None:
            take(message.subject, message.data, message.headers)

        try:
            subscription = await self.subscribe(inbox, cb=take_message)
            self._take, self._inbox_id = take, subscription._id
            await self.confirm(seconds)
        except (TimeoutError, errors.ConnectionClosedError) as error:
            raise (self._err or error) if self._over else ConnectTimeout(f"connect_timeout is {seconds:g} s") from error
        if self.inbox_denied is not None:
            raise InboxDenied(self.inbox_denied)

    @property
    def version(self) -> str:
        """What the server says of itself."""
        return str(self._server_info.get("version", "unknown"))

    @property
    def neighbours(self) -> list[HostPort]:
        """The servers that the cluster names."""
        found = [HostPort(server.hostname or "", server.port or 0) for server in self.discovered_servers]
        return [host for host in found if host.host and host.port]

    # --- what the library calls ---------------------------------------------------------------------------------------

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Before the login is sent: the library itself would go on without encryption if the server offers none."""
        config = self._config
        if initial_connection and config.encrypted:
            if not config.tls_first:
                if not (info.get("tls_required") or info.get("tls_available")):
                    raise errors.SecureConnWantedError
                info["tls_required"] = True
            if info.get("tls_verify") and (config.tls is None or config.tls.cert_file is None):
                raise CertificateWanted
        await super()._process_info(info, initial_connection)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """Acknowledgements go straight to who waits for them; the library's way leads over a queue and a task, and takes longer
        than all the rest."""
        if sid == self._inbox_id and self._take is not None:
            self._take(subject.decode(), data, await self._process_headers(headers) if headers else None)
        else:
            await super()._process_msg(sid, subject, reply, data, headers)

    async def _on_error(self, error: Exception) -> None:
        if self._opening:
            raise error  # else the library would try again, without end
        found = _DENIED.search(str(error))
        if found is None:
            return
        kind, subject = found.groups()
        if kind == "subscription":
            self.inbox_denied = subject
        elif self._tell_denied is not None:
            self._tell_denied(subject)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        if not self._over:
            self._over = True
            if self._tell_ended is not None:
                self._tell_ended(self._err)
            for limit in self._limits:
                if not limit.expired():
                    limit.reschedule(0)
        self._pending.clear()
        self._pending_data_size = 0
        if self._flush_queue is None or not self._transport:  # it was never opened, and the library cannot close what was not
            return
        try:
            async with asyncio.timeout(CLOSE_MAX):
                await super()._close(status, do_cbs)
        except (OSError, errors.Error):  # it is gone anyway; TimeoutError is an OSError
            pass
        finally:
            self._abort()

    def _abort(self) -> None:
        for name in ("_io_writer", "_bare_io_writer"):
            writer = getattr(self._transport, name, None)
            if writer is not None:
                writer.transport.abort()


def _options(host: HostPort, config: NatsProducerConfig) -> dict[str, Any]:
    found: dict[str, Any] = {
        "servers": [f"nats://{host}"],
        "name": config.name,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "connect_timeout": config.connect_timeout,
        "ping_interval": config.ping_interval,
        "max_outstanding_pings": PINGS_MISSING_MAX,
        "pending_size": 0,
        "inbox_prefix": config.inbox_prefix,
        "tls_handshake_first": config.tls_first,
        **config.login,
        **_keys(config),
    }
    if config.tls is not None:
        found["tls"] = ssl_context(config.tls)
        found["tls_hostname"] = config.tls.server_name
    if found.get("tls_hostname") is None and config.encrypted:
        # Addresses that a cluster names are numbers, and certificates are for the name in the configuration.
        found["tls_hostname"] = host.host if host in config.hosts else config.url.host
    return found


def _keys(config: NatsProducerConfig) -> dict[str, Any]:
    if config.nkey_seed is None and config.credentials_file is None:
        return {}
    try:
        import nkeys  # type: ignore[import-untyped]
    except ImportError:
        setting = "nkey_seed" if config.nkey_seed is not None else "credentials_file"
        raise ConfigurationError(f'{setting} needs the package nkeys; install it with: pip install "standpipe[nats]"') from None
    if config.nkey_seed is None:
        return {"user_credentials": _checked_credentials(config.credentials_file or "")}
    seed = config.nkey_seed.get_secret_value()
    try:
        nkeys.from_seed(bytearray(seed.strip().encode())).wipe()
    except Exception as error:  # of many layers; none of them must show the seed
        raise ConfigurationError(f"nkey_seed is not the seed of a user, SU... ({type(error).__name__}); correct it") from None
    return {"nkeys_seed_str": seed}


def _checked_credentials(name: str) -> str:
    """The path of a credentials file that has all that the library looks for: it would look for ever for what is not there."""
    path = Path(name).expanduser()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"credentials_file {str(path)!r} cannot be read ({error.strerror}); correct the path") from None
    for mark in (b"BEGIN NATS USER JWT", b"BEGIN USER NKEY SEED"):
        if mark not in text:
            raise ConfigurationError(f"credentials_file {str(path)!r} has no {mark.decode()}; write it with: nsc generate creds")
    return str(path)
