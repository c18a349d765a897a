"""Logging in with keys: NKeys, and credentials files with a JWT."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from standpipe.delivery.receipt import Receipt
from tests.integration.nats.keys import USER, Authority, Key
from tests.integration.nats.streams import WITHIN, make_stream, producer, read, says
from tests.servers.nats import NatsServer
from tests.servers.server import Address
from tests.servers.waiting import until

MakeServer = Callable[..., NatsServer]


def test_nkey_gets_in_and_another_one_does_not(own_server: MakeServer, unique_name: str) -> None:
    known, unknown = Key(USER), Key(USER)
    users = [{"user": "admin", "password": "pw"}, {"nkey": known.public}]
    server = own_server(NatsServer, settings={"authorization": json.dumps({"users": users})})
    make_stream(f"nats://admin:pw@127.0.0.1:{server.port}", unique_name)
    with producer(server.url, unique_name, nkey_seed=unknown.seed, shutdown_timeout=0.1) as made:
        made.produce(False, {"n": 1})
        says(made, "refuses the login", "nkey_seed")
        assert unknown.seed not in str(made.statistics().last_error)
    with producer(server.url, unique_name, nkey_seed=known.seed) as made:
        receipt = made.produce(False, {"n": 2})
        receipt.wait(WITHIN)
        assert receipt.delivered


def test_credentials_file_gets_in_and_that_of_another_authority_does_not(own_server: MakeServer, unique_name: str, tmp_path: Path) -> None:
    authority = Authority()
    server = own_server(NatsServer, settings=authority.settings)
    ours, others = tmp_path / "ours.creds", tmp_path / "others.creds"
    authority.write_credentials(ours)
    Authority().write_credentials(others)
    make_stream(server.url, unique_name, user_credentials=str(ours))
    with producer(server.url, unique_name, credentials_file=str(others), shutdown_timeout=0.1) as made:
        made.produce(False, {"n": 1})
        says(made, "refuses the login", "credentials_file")
    with producer(server.url, unique_name, credentials_file=str(ours)) as made:
        receipt = made.produce(False, {"n": 2})
        receipt.wait(WITHIN)
        assert receipt.delivered
    assert [each.data for each in read(server.url, unique_name, user_credentials=str(ours))] == [b'{"n":2}']


def test_credentials_that_expire_are_read_again_and_the_messages_wait_for_new_ones(
    own_server: MakeServer, unique_name: str, tmp_path: Path
) -> None:
    authority = Authority()
    server = own_server(NatsServer, settings=authority.settings)
    admin, ours = tmp_path / "admin.creds", tmp_path / "ours.creds"
    authority.write_credentials(admin)
    authority.write_credentials(ours, lasts=3)
    make_stream(server.url, unique_name, user_credentials=str(admin))
    receipts: list[Receipt] = []
    with producer(server.url, unique_name, credentials_file=str(ours)) as made:

        def is_refused() -> bool:
            receipts.append(made.produce(False, {"n": len(receipts)}, key="k"))
            return "refuses the login" in str(made.statistics().last_error)

        until(is_refused)
        assert not receipts[-1].done()
        authority.write_credentials(ours)
        assert made.flush(WITHIN) == 0
    assert all(receipt.delivered for receipt in receipts)
    arrived = [json.loads(each.data)["n"] for each in read(server.url, unique_name, user_credentials=str(admin))]
    assert arrived == list(range(len(receipts)))


def test_keys_without_the_package_for_them_name_the_remedy(nats_server: Address, nats_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nkeys", None)
    with producer(nats_server.url, nats_name, nkey_seed="SUABC", shutdown_timeout=0.1) as made:
        made.produce(False, {"n": 1})
        says(made, "standpipe[nats]")
        assert "SUABC" not in str(made.statistics().last_error)
