"""`type: http`: messages as HTTP requests, many at a time.

What is sent is made in `http_request.py`, what an answer means is said in `http_answer.py`, and what an error of the client
means in `http_errors.py`. Every request is one attempt: nothing is repeated here, nothing is sent to another server.
"""

from __future__ import annotations

import asyncio
import io
import time
from http import HTTPStatus
from typing import Any, ClassVar, NamedTuple
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from standpipe.core.errors import Misconfigured, NotSent, Reject, RetryAfter, SendError, StandpipeError
from standpipe.core.finding import Finding
from standpipe.core.outcome import Outcome
from standpipe.core.redaction import redact_url
from standpipe.delivery.batch import Batch
from standpipe.producers.addresses import Url, UrlOf
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.error_table import ErrorTable
from standpipe.producers.http_answer import NOT_PROCESSED, Meaning, Statuses, excerpt, retry_after
from standpipe.producers.http_client import HttpClient, hang_up
from standpipe.producers.http_config import HttpProducerConfig, basic_authorization
from standpipe.producers.http_errors import ERRORS, hide_target
from standpipe.producers.http_examination import findings
from standpipe.producers.http_request import Request, RequestMaker
from standpipe.producers.http_url import PORTS, UrlTemplate, shown, without_target
from standpipe.producers.tls import ssl_context

REDIRECTS_MAX = 3
"""Redirects that are followed in a row, if any are; a loop must end. Services that move paths need one."""

AT_ONCE = 2**20
"""Bytes of a body that are handed to the transport at once; larger ones go in pieces, so that the others get their turn."""

_FOLLOWED = (307, 308)  # the others turn a POST into a GET, and the message would be lost with a success

Results = list[Outcome | BaseException]


class Answer(NamedTuple):
    """What a server answered: the status, the headers, and the beginning of the body."""

    status: int
    headers: Any
    body: bytes


class HttpProducer(BaseProducer):
    """Sends messages as HTTP requests, one or a batch in each, with up to `concurrency` requests under way at once.

    `receipt.detail` is `{"status": 201, "request_id": "..."}`.
    """

    config_model: ClassVar[type[BaseProducerConfig]] = HttpProducerConfig
    errors: ClassVar[ErrorTable] = ERRORS

    config: HttpProducerConfig

    _client: HttpClient | None = None
    _maker: RequestMaker
    _statuses: Statuses
    _options: dict[str, Any]
    _follows = False

    @property
    def max_in_flight(self) -> int:  # type: ignore[override]
        """Requests under way at once."""
        return self.config.concurrency

    @property
    def destination(self) -> str:
        """The servers of the URL and of that for errors; their paths may be secret."""
        url, error_url = self.config.url, self.config.error_url
        return shown(url) if error_url is None else f"{shown(url)}, errors: {shown(error_url)}"

    def examine(self) -> list[Finding]:
        """Whether the endpoint can be reached, and which settings lose or repeat messages. Opens a connection; makes no request."""
        return list(findings(self.config))

    # --- connection ---------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        await self._close()
        config = self.config
        address = UrlTemplate(config.url).address
        self._maker = RequestMaker(config, time.time)
        self._statuses = config.statuses()
        self._follows = config.follow_redirects
        context = ssl_context(config.tls) if config.tls is not None else True
        self._options = {"ssl": context}
        if config.tls is not None and config.tls.server_name is not None:
            self._options["server_hostname"] = config.tls.server_name
        proxy = _proxy_of(config, address)
        self._use_proxy(proxy, address)
        await self._reach(proxy or address, context if proxy is None else True)
        self._client = HttpClient(config, self._options)

    def _use_proxy(self, proxy: Url | None, address: Url) -> None:
        """Through a tunnel the login is for the proxy alone; without one it goes with each request."""
        self._proxy_headers: dict[str, str] = {}
        if proxy is None:
            return
        self._options["proxy"] = URL(proxy.text)
        if proxy.user is not None:
            password = proxy.password.get_secret_value() if proxy.password is not None else ""
            login = {"Proxy-Authorization": basic_authorization(proxy.user, password)}
            if address.scheme == "https":
                self._options["proxy_headers"] = login
            else:
                self._proxy_headers = login

    async def _reach(self, address: Url, context: Any) -> None:
        """Open a connection and close it: a server that is down, or one with a wrong certificate, is found out before the first
        message is tried."""
        secure = address.scheme == "https"
        options = {"ssl": context, "server_hostname": self._options.get("server_hostname", address.host)} if secure else {}
        try:
            async with asyncio.timeout(self.config.connect_timeout):
                transport, _ = await asyncio.get_running_loop().create_connection(
                    asyncio.Protocol, address.host, address.port or PORTS[address.scheme], happy_eyeballs_delay=0.25, **options
                )
        except TimeoutError as error:
            raise NotSent(
                f"no connection to {address.host}:{address.port} within connect_timeout ({self.config.connect_timeout:g} s)"
            ) from error
        except OSError as error:
            raise self.errors.translate(error) from error
        transport.abort()

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _after_fork(self) -> None:
        """The connections are the parent's. To close them here would take them out of its selector, which both processes share, and
        say goodbye to its servers in its name."""
        self._client = None
        super()._after_fork()

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _send_batch(self, batch: Batch) -> Results:
        if self.config.error_url is None or batch.count == 1:
            batch.details = [await self._send_together(batch)] * batch.count
            return list(batch.delivered())
        flags = batch.is_errors()
        if len(set(flags)) == 1:
            batch.details = [await self._send_together(batch)] * batch.count
            return list(batch.delivered())
        return await self._send_apart(batch, flags)

    async def _send_together(self, batch: Batch) -> dict[str, Any]:
        """Send messages that have one destination; returns what the server said of them."""
        request = self._maker.make(batch, batch.slices[0][0]._is_error)
        try:
            answer = await (self._exchange(request) if self._follows else self._ask(request.url, request))
        except (aiohttp.ClientError, OSError) as error:
            hide_target(error, request.url)
            raise self.errors.translate(error) from error
        meaning = self._statuses.meaning(answer.status)
        if meaning is not Meaning.DELIVERED:
            raise self._failure(answer, meaning, batch, request.url)
        return self._detail(answer)

    async def _send_apart(self, batch: Batch, flags: list[bool]) -> Results:
        """Normal and error messages of one batch, which go to different places and fare differently."""
        results: Results = [Outcome.UNKNOWN] * batch.count
        details: list[Any] = [None] * batch.count
        for flag, part in batch.split_by_error():
            positions = [position for position, is_error in enumerate(flags) if is_error is flag]
            for position, (result, detail) in zip(positions, await self._send_by_halves(part), strict=True):
                results[position], details[position] = result, detail
        batch.details = details
        return results

    async def _send_by_halves(self, batch: Batch) -> list[tuple[Outcome | BaseException, Any]]:
        """One result for each message: what is rejected is tried in halves until the message at fault is alone."""
        try:
            detail = await self._send_together(batch)
        except Reject as fault:
            if batch.count == 1:
                return [(fault, None)]
            middle = batch.count // 2
            return [*await self._send_by_halves(batch.part(0, middle)), *await self._send_by_halves(batch.part(middle, batch.count))]
        except StandpipeError as fault:
            return [(fault, None)] * batch.count
        return [(Outcome.DELIVERED, detail)] * batch.count

    async def _exchange(self, request: Request) -> Answer:
        """Send a request, and follow it where the configuration allows."""
        url = request.url
        answer = await self._ask(url, request)
        for _ in range(REDIRECTS_MAX):
            target = self._followed(url, answer)
            if target is None:
                break
            url = target
            answer = await self._ask(url, request)
        return answer

    async def _ask(self, url: URL, request: Request) -> Answer:
        if self._client is None:
            raise NotSent("the connection is closed")
        headers = {**request.headers, **self._proxy_headers} if self._proxy_headers else request.headers
        body = request.body if len(request.body) <= AT_ONCE else io.BytesIO(request.body)
        response = await self._client.request(url, headers, body)
        content = response.content
        if content.is_eof():  # most answers are small and here as a whole
            wanted = response.status not in self._statuses.success  # nobody looks at what comes with a success
            return Answer(response.status, response.headers, content.read_nowait() if wanted else b"")
        try:
            return Answer(response.status, response.headers, await self._read(response))
        finally:
            hang_up(response)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The body, as far as it is wanted. Its end is awaited because an answer that breaks off is no success."""
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self.config.response_bytes:
                break
        return bytes(body)

    def _followed(self, url: URL, answer: Answer) -> URL | None:
        """Where a redirect leads, if it is to be followed."""
        if answer.status not in _FOLLOWED:
            return None
        try:
            target = url.join(URL(answer.headers.get("Location", ""), encoded=True))
        except ValueError:
            return None
        return target if target != url and _origin(target) == _origin(url) else None

    # --- what the answer means ----------------------------------------------------------------------------------------

    def _detail(self, answer: Answer) -> dict[str, Any]:
        name = self.config.request_id_header
        return {"status": answer.status, "request_id": None if name is None else answer.headers.get(name)}

    def _failure(self, answer: Answer, meaning: Meaning, batch: Batch, url: URL) -> SendError:
        said = f"the server answered {_named(answer.status)}"
        if meaning is Meaning.PAUSE:
            return Misconfigured(self.config.pause, f"{said}: {_remedy(answer, url)}")
        if meaning is Meaning.REJECT:
            return Reject(said, response=without_target(excerpt(answer.body), url))
        if answer.status not in NOT_PROCESSED:
            batch.unknown = True  # which the errors below do not say, if the server asks for a pause
        wait = retry_after(answer.headers, time.time())
        if wait is not None:
            return RetryAfter(wait, f"{said} and asked to wait")
        kind = NotSent if answer.status in NOT_PROCESSED else SendError
        return kind(said, response=without_target(excerpt(answer.body), url))


def _proxy_of(config: HttpProducerConfig, address: Url) -> Url | None:
    if config.proxy is not None or not config.proxy_from_environment:
        return config.proxy
    found = getproxies().get(address.scheme)
    if not found or proxy_bypass(f"{address.host}:{address.port}"):
        return None
    return UrlOf(("http", "https"), {"http": 80, "https": 443}).parse(found)


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return (url.scheme, url.host, url.port)


def _named(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def _remedy(answer: Answer, url: URL) -> str:
    if 300 <= answer.status < 400:
        target = redact_url(without_target(answer.headers.get("Location", ""), url)[:200])
        return f"it redirects to {target!r}, which is not followed; write the right address into url"
    if answer.status == 401:
        return "it does not know who we are; correct auth"
    if answer.status == 407:
        return "the proxy does not know who we are; correct user and password in proxy"
    return "we lack the permission, or the configuration is wrong; the messages wait"
