"""The configuration of the `tail` agent, and every mistake in it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from standpipe.agents.tail_config import TailConfig


def test_one_path_may_be_given_without_a_list() -> None:
    config = TailConfig(name="a", paths="/var/log/*.log", exclude="*.old")
    assert (config.paths, config.exclude) == (["/var/log/*.log"], ["*.old"])


def test_a_path_given_twice_counts_once() -> None:
    assert TailConfig(name="a", paths=["/a", "/b", "/a"]).paths == ["/a", "/b"]


def test_nothing_but_paths_and_a_name_is_needed() -> None:
    config = TailConfig(name="a", paths=["/a"])
    assert (config.type, config.start_at, config.follow, config.encoding) == ("tail", "beginning", True, "utf-8")
    assert (config.max_line_bytes, config.chunk_bytes, config.poll_interval, config.partial_line_timeout) == (2**20, 2**16, 0.25, None)


def test_sizes_and_durations_are_written_with_units() -> None:
    config = TailConfig.model_validate(
        {"name": "a", "paths": "/a", "max_line_bytes": "64KiB", "poll_interval": "500ms", "rotate_wait": "1m"}
    )
    assert (config.max_line_bytes, config.poll_interval, config.rotate_wait) == (65536, 0.5, 60.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"paths": []}, "no path is given; name at least one file or glob"),
        ({"paths": [""]}, "a path is empty; write a file such as /var/log/app.log"),
        ({"paths": ["/a\0b"]}, "holds a NUL character, which no path can; remove it"),
        ({"paths": ["/a"], "exclude": [" "]}, "a path is empty"),
        ({"paths": {"a": 1}}, "Input should be a valid list"),
        ({"paths": [1]}, "Input should be a valid string"),
        ({"paths": ["/a"], "start_at": "middle"}, "Input should be 'beginning' or 'end'"),
        ({"paths": ["/a"], "start_at": "end", "follow": False}, "start_at: end together with follow: false would read nothing; leave one"),
        ({"paths": ["/a"], "max_line_bytes": 0}, "greater than or equal to 1"),
        ({"paths": ["/a"], "max_line_bytes": "1GiB"}, "less than or equal to 67108864"),
        ({"paths": ["/a"], "chunk_bytes": 10}, "greater than or equal to 1024"),
        ({"paths": ["/a"], "poll_interval": "1ms"}, "greater than or equal to 0.01"),
        ({"paths": ["/a"], "poll_interval": "soon"}, "'soon' is not a duration"),
        ({"paths": ["/a"], "max_open_files": 0}, "greater than or equal to 1"),
        ({}, "Field required"),
    ],
)
def test_a_mistake_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message.replace("(", r"\(")):
        TailConfig.model_validate({"name": "a", **fields})
