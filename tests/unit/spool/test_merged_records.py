"""Messages handed over one by one are read back together, and nothing but their number of records changes."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from standpipe.spool.files import RealFileSystem
from standpipe.spool.format import FLAG_ERROR, RUN_SECONDS, Damage, End, Record, encode_record, joined, scan
from tests.unit.spool.spools import fill, opened, segments

NOTHING = b""
META = b'{"key":"a"}'

kinds = st.tuples(
    st.integers(1, 3),  # messages in the record
    st.sampled_from([0, 0, 0, FLAG_ERROR]),
    st.sampled_from([0.0, 0.0, 0.001, 1.0]),  # seconds after the one before
    st.sampled_from([NOTHING, NOTHING, NOTHING, META]),
    st.sampled_from([0, 0, 0, 2]),  # numbers given to messages that were dropped
    st.sampled_from([b"{}", b'{"a":1}', b"[\n]"]),
)


def written(records: list[tuple[int, int, float, bytes, int, bytes]], first: int = 0) -> bytes:
    parts, number, time = [], first, 1000.0
    for count, flags, later, meta, skipped, payload in records:
        number += skipped
        time += later
        parts.append(joined(encode_record(number, count, flags, time, meta, b"\n".join([payload] * count), skipped)))
        number += count
    return b"".join(parts)


def plain(count: int) -> bytes:
    return written([(1, 0, 0.0, NOTHING, 0, b'{"n":%d}' % number) for number in range(count)])


def found(data: bytes, merge: range | None) -> list[Record | Damage | End]:
    return [item for _, item in scan(memoryview(data), 0, len(data), 0, merge)]


def apart(items: list[Record | Damage | End]) -> list[Record | Damage | End]:
    return [single for item in items for single in (item.singles() if isinstance(item, Record) and item.merged else [item])]


def shape(item: Record | Damage | End) -> object:
    return (item.first, item.count, item.is_error, item.payload, item.meta, item.skipped) if isinstance(item, Record) else item


@given(st.lists(kinds, max_size=30), st.integers(0, 20), st.integers(0, 40))
def test_merged_or_not_the_same_messages_are_found(records: list[tuple[int, int, float, bytes, int, bytes]], low: int, high: int) -> None:
    data = written(records)
    one_by_one, together = found(data, None), found(data, range(low, high))

    assert [shape(item) for item in apart(together)] == [shape(item) for item in one_by_one]
    for single, before in zip(apart(together), one_by_one, strict=True):
        assert isinstance(single, Record)
        assert isinstance(before, Record)
        assert abs(single.time - before.time) <= RUN_SECONDS + 1e-9
    for item in together:
        if isinstance(item, Record) and item.merged:
            assert item.count > 1
            assert low <= item.first
            assert item.first + item.count <= high


@given(st.integers(2, 12), st.data())
def test_damage_ends_a_merged_record_and_what_follows_is_found(count: int, data: st.DataObject) -> None:
    content = bytearray(plain(count))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))

    one_by_one, together = found(bytes(content), None), found(bytes(content), range(100))

    assert [shape(item) for item in apart(together)] == [shape(item) for item in one_by_one]


def test_messages_without_anything_else_come_as_one_record() -> None:
    (record,) = found(plain(5), range(100))

    assert isinstance(record, Record)
    assert (record.first, record.count, record.merged) == (0, 5, True)
    assert record.payload == b"\n".join(b'{"n":%d}' % number for number in range(5))


def test_a_payload_with_a_newline_is_not_taken_apart() -> None:
    data = written([(1, 0, 0.0, NOTHING, 0, b'{"a":\n1}')] * 3)

    assert [item.count for item in found(data, range(100)) if isinstance(item, Record)] == [1, 1, 1]


def test_settling_messages_of_several_segments_at_once_removes_them_all(tmp_path: Path) -> None:
    files = RealFileSystem(tmp_path)
    spool = opened(files)
    numbers = fill(spool, 200)
    assert len(segments(files)) > 4

    spool.settle(numbers[0], len(numbers))

    assert len(segments(files)) == 1  # the one that is being written
    spool.close()
    assert segments(files) == []


def test_settling_leaves_a_segment_with_another_message_in_it(tmp_path: Path) -> None:
    files = RealFileSystem(tmp_path)
    spool = opened(files)
    numbers = fill(spool, 200)
    first = segments(files)[0]

    spool.settle(numbers[1], len(numbers) - 1)

    assert segments(files)[0] == first
    assert len(segments(files)) == 2
    spool.close()
