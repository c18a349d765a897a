"""No message leads a request to another server, out of its path segment, or into another parameter."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from standpipe.core.errors import Reject
from standpipe.delivery.batch import Batch
from standpipe.producers.addresses import Url, UrlOf
from standpipe.producers.http_url import UrlTemplate
from tests.unit.producers.batches import Given, batch_of


def one(message: dict[str, Any], *, is_error: bool = False) -> Batch:
    return batch_of(Given([message], is_error, "k/1"))


def test_a_url_without_fields_is_made_once() -> None:
    url = UrlTemplate("https://api.example.com/in?x=1")
    assert url.constant == URL("https://api.example.com/in?x=1")
    assert url.of(one({})) is url.constant


def test_fields_fill_segments_and_parameters_percent_encoded() -> None:
    url = UrlTemplate("https://api.example.com:8443/{user.id}/{is_error}/{@key}/{time:%Y}?q={text}&n={n}&b={b}")
    made = url.of(one({"user": {"id": "ä/b c"}, "text": "a&b=c#d?e+f%20", "n": 1.5, "b": True}, is_error=True))
    assert str(made) == "https://api.example.com:8443/%C3%A4%2Fb%20c/error/k%2F1/2027?q=a%26b%3Dc%23d%3Fe%2Bf%2520&n=1.5&b=true"


@pytest.mark.parametrize("value", ["..", ".", "", "a/../b", "../x", "x/..", "a/./b", "..\\x", "a\r\nHost: evil", "a\x00b", {}, [1], None])
def test_a_value_that_could_lead_elsewhere_or_says_nothing_rejects_the_message(value: object) -> None:
    with pytest.raises(Reject):
        UrlTemplate("https://api.example.com/in/{where}").of(one({"where": value}))


def test_a_missing_field_rejects_the_message_and_names_the_remedy() -> None:
    with pytest.raises(Reject, match=r"url '/in/\{where\}': the field 'where' is missing; add it to the message"):
        UrlTemplate("https://api.example.com/in/{where}").of(one({}))


@given(st.text(max_size=30))
def test_whatever_the_value_the_place_and_the_shape_stay(value: str) -> None:
    url = UrlTemplate("https://api.example.com/a/{x}/b?p={x}&q=1")
    try:
        made = url.of(one({"x": value}))
    except (Reject, ValueError):  # a lone surrogate is no JSON
        return
    text = str(made)
    assert text.startswith("https://api.example.com/a/")
    assert made.host == "api.example.com"
    target = made.raw_path_qs
    path, _, query = target.partition("?")
    assert path.count("/") == 3
    assert path.endswith("/b")
    assert [part.partition("=")[0] for part in query.split("&")] == ["p", "q"]
    assert unquote(path.split("/")[2]) == value
    assert not any(character.isspace() for character in text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("https://{host}/in", "the host and port must be fixed"),
        ("https://example.com:{port}/in", "the host and port must be fixed"),
        ("{scheme}://example.com/in", "must begin with https:// or http://"),
        ("https://user:hush@example.com/in", "must not hold a user or password"),
        ("https://example.com/a/../b", "without '.' and '..'"),
        ("https://example.com/a/%2e%2E/b", "without '.' and '..'"),
        ("https://example.com/in#part", "is never sent"),
        ("https://example.com/ü", "use letters, digits"),
        ("https://example.com/a b", "is not a URL"),
        ("ftp://example.com/in", "must begin with https:// or http://"),
        ("https:///in", "names no host"),
        ("example.com/in", "must begin with https:// or http://"),
        ("https://example.com/{", "stands alone"),
    ],
)
def test_a_url_that_cannot_be_one_is_refused_with_the_remedy(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match="hush|" + complaint) as caught:
        UrlTemplate(text)
    assert "hush" not in str(caught.value)


def test_a_url_can_be_an_optional_setting() -> None:
    assert hash(UrlOf(("http",), {"http": 80})) == hash(UrlOf(("http",), {"http": 80}))
    assert isinstance(UrlOf(("http",), {"http": 80}).parse("http://u:p@proxy"), Url)
