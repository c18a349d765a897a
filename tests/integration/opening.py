"""What holds for every producer whose connection is opened, whatever the service is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from standpipe.core.finding import Severity
from standpipe.producers.base import BaseProducer
from tests.servers.certificates import Certificates
from tests.servers.waiting import until

WITHIN = 20.0


def check_waits_and_says(made: BaseProducer, says: str, caplog: pytest.LogCaptureFixture) -> None:
    """The message is kept, and people are told; `hush` is a secret."""
    with made:
        receipt = made.produce(False, {"n": 1})
        # Not necessarily the first: a server that hangs up may be quicker than what it says before.
        until(lambda: made.statistics().connect_failures > 1 and says in str(made.statistics().last_error))
        assert not receipt.done()
        assert made.statistics().dead_lettered == 0
        made.shutdown(0.2)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("standpipe")]
    assert any(line.startswith(f"{made.name}: cannot connect") for line in lines)
    assert "hush" not in "".join(lines)


def check_tls_both_ways(make: Callable[..., BaseProducer], certificates: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    """`make(tls=...)` for a server that shows the certificate of `certificates.server` and wants one of ours."""
    files = {"ca_file": certificates.ca_file, "cert_file": certificates.client.cert_file, "key_file": certificates.client.key_file}
    tls = {name: str(path) for name, path in files.items()}
    with make(tls=tls) as made:
        made.produce_many(False, [{"n": number} for number in range(2000)])
        made.produce(False, {"long": "x" * 1_000_000})
        assert made.flush(WITHIN) == 0
        assert made.statistics().delivered == 2001
    assert [finding.severity for finding in make(tls=tls).examine()].count(Severity.CRITICAL) == 0
    wrong: list[tuple[dict[str, Any], str]] = [
        ({**tls, "ca_file": str(certificates.other_ca_file)}, "certificate was refused"),
        ({**tls, "server_name": "other.example.com"}, "certificate was refused"),
        ({"ca_file": tls["ca_file"]}, "certificate of ours"),
        ({**tls, "ca_file": "/missing.pem"}, "'/missing.pem' does not exist"),
    ]
    for settings, says in wrong:
        caplog.clear()
        check_waits_and_says(make(tls=settings), says, caplog)
