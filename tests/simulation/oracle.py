"""What must be true, told by somebody outside: which messages were attempted, accepted, stored, delivered, put aside, and what
follows from that. It outlives every simulated process and knows nothing of how the engine and the spool work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from standpipe.core.dead_letter import DeadLetter, Reason


@dataclass(slots=True)
class Told:
    """One message and all that has happened to it."""

    number: int
    key: str | None
    bad: bool
    content: dict[str, Any]
    source: str
    headers: dict[str, str] | None = None
    given_id: str | None = None
    status: str = "attempted"  # then: accepted, refused (it must never arrive), unknown (it may)
    ids: list[str] = field(default_factory=list)
    arrivals: int = 0
    confirmed: int = 0
    uncertain: bool = False  # an attempt may have arrived
    rejected: bool = False  # the destination refused it for good, once at least
    letters: int = 0
    dropped: bool = False
    handed_back: bool = False
    level: str = "memory"  # what it survives: memory, written or synced
    durable: bool = False  # a power cut cannot take it
    acknowledged: bool = False  # the source need not keep it any more
    handed_over_again: bool = False  # by a source that was read again: it waits twice, under two ids
    may_repeat: bool = False  # arrived, and a process ended that may not have noted it
    doomed: bool = False  # it has expired and could not be put aside: nothing waits for it any more
    may_be_lost: bool = False  # the level at which it was accepted does not survive what happened
    damaged: set[bytes] = field(default_factory=set)  # what the disk has made of it, if it has
    out_of_line: bool = False  # it may arrive behind later ones: it was lost, or put aside, and came back

    @property
    def settled(self) -> bool:
        """Whether its story has ended."""
        return bool(self.confirmed or self.letters or self.dropped or self.handed_back)


class Oracle:
    """Records and checks. `fail(text)` is called when something is not as it must be."""

    def __init__(self, ordering: str, fail: Callable[[str], None]) -> None:
        self.messages: dict[int, Told] = {}
        self.by_id: dict[str, int] = {}
        self.unsettled_drops = 0  # dropped messages of former processes: nobody holds their receipts
        self._ordering = ordering
        self._fail = fail
        self._last: dict[str, int] = {}  # the latest number that has arrived, for each line in which order must hold
        self._not_durable: list[Told] = []

    # --- handing over -------------------------------------------------------------------------------------------------

    def attempted(self, told: Told) -> Told:
        """It is about to be handed over (again, if it comes from a source that was read again)."""
        known = self.messages.setdefault(told.number, told)
        if known is not told:
            known.handed_over_again = True
        return known

    def accepted(self, told: Told, message_id: str, level: str) -> None:
        """`produce` returned, or raised and said that it may be delivered all the same."""
        if self.by_id.setdefault(message_id, told.number) != told.number:
            self._fail(f"the id of message {told.number} is that of message {self.by_id[message_id]}")
        if told.given_id is not None and message_id != told.given_id:
            self._fail(f"message {told.number} has id {message_id!r} instead of the given {told.given_id!r}")
        told.ids.append(message_id)
        told.level = level
        told.durable = level == "synced"
        if level == "written":
            self._not_durable.append(told)

    def stored_after_all(self, numbers: Iterable[int]) -> None:
        """Messages that had been accepted although the disk failed are on it now."""
        for number in numbers:
            self.messages[number].level, self.messages[number].durable = "synced", True

    def synced(self) -> None:
        """What was written up to now is on the disk."""
        for told in self._not_durable:
            told.durable = True
        self._not_durable.clear()

    def kept(self) -> None:
        """Whatever waits is on the disk: a queue in memory has been stored at the end, or found again."""
        self.synced()
        for told in self.messages.values():
            if not told.settled and told.status == "accepted":
                told.level, told.durable = "written", True

    def sync_failed(self) -> None:
        """What was not on the disk may be gone from memory, too; a level that does not wait for the disk cannot prevent that."""
        for told in self._not_durable:
            if not told.settled:
                told.may_be_lost = told.out_of_line = True

    def damage(self, numbers: Sequence[int], ids: Sequence[str], payloads: Sequence[bytes]) -> None:
        """While no process runs the disk changes what it has of these, which it has once."""
        for number, message_id, payload in zip(numbers, ids, payloads, strict=True):
            self.by_id.setdefault(message_id, number)
            self.messages[number].damaged.add(payload)

    # --- the destination ----------------------------------------------------------------------------------------------

    def arrived(self, number: int, content: dict[str, Any], bad: bool, message_id: str | None = None) -> None:
        """The destination has got it."""
        told = self.messages.get(number)
        if told is None or told.status == "refused":
            self._fail(f"message {number} arrived although it was {'refused' if told else 'never handed over'}")
            return
        if told.damaged and not told.handed_over_again:
            self._fail(f"message {number} arrived although the disk has damaged all that there was of it")
        if content != told.content or bad is not told.bad:
            self._fail(f"message {number} arrived changed: {content!r}, is_error {bad}")
        if message_id is not None and told.ids and message_id not in told.ids and not told.handed_over_again:
            self._fail(f"message {number} arrived under another id than it was accepted under")
        if told.arrivals and not (told.uncertain or told.may_repeat or told.handed_over_again):
            self._fail(f"message {number} arrived twice, and no attempt was uncertain")
        if not told.arrivals:
            self._in_line(told)
        told.arrivals += 1

    def _in_line(self, told: Told) -> None:
        if self._ordering == "none" or (self._ordering == "key" and told.key is None):
            return
        line = told.source if self._ordering == "fifo" else f"{told.source} {told.key}"
        last = self._last.get(line, -1)
        self._last[line] = max(last, told.number)
        if told.number < last and not (told.out_of_line or told.rejected or told.letters or told.dropped):
            self._fail(f"message {told.number} arrived after message {last} of the same line ({line})")

    def confirmed(self, number: int) -> bool:
        """The engine is told so; True if it was there before, which has to be counted as a possible duplicate."""
        told = self.messages[number]
        told.confirmed += 1
        told.may_repeat = False
        return told.arrivals > 1 and told.source == "caller"

    def letter(self, letter: DeadLetter, *, deadline: float | None, max_resets: int | None) -> None:
        """Put aside."""
        number = self.number_of(letter)
        told = self.messages[number]
        corrupt = letter.reason is Reason.CORRUPT
        same = letter.payload in told.damaged if corrupt else letter.content() == told.content
        if not same or letter.is_error is not told.bad or letter.key != told.key:
            self._fail(f"message {number} was changed when it was put aside, and not by the disk: {letter!r}")
        allowed = {Reason.REJECTED: told.rejected, Reason.EXPIRED: deadline is not None, Reason.EXHAUSTED: max_resets is not None}
        allowed[Reason.CORRUPT] = bool(told.damaged)
        if not allowed.get(letter.reason, False):
            self._fail(f"message {number} was put aside as {letter.reason.value}, which it cannot be")
        told.letters += 1

    def number_of(self, letter: DeadLetter) -> int:
        """Of its message, which may have been accepted without its caller being told."""
        known = self.by_id.get(letter.id)
        return known if known is not None else self.by_id.setdefault(letter.id, letter.content()["n"])

    # --- the end of a process -----------------------------------------------------------------------------------------

    def process_died(self, *, power: bool, in_doubt: Iterable[int] | None) -> None:
        """Killed, or without power. `in_doubt`: confirmed, but perhaps not noted by the spool; None: all."""
        for told in self.messages.values():
            if in_doubt is None or told.source != "caller" or not told.confirmed:
                told.may_repeat = told.may_repeat or told.arrivals > 0
            if not told.settled and told.status != "refused" and (told.level == "memory" or (power and not told.durable)):
                told.out_of_line = True
                told.may_be_lost = told.source == "caller" or told.acknowledged  # else the source still has it
            if (told.settled and not told.confirmed) or told.doomed or (self.unsettled_drops and not told.settled):
                told.out_of_line = True  # put aside or dropped, and perhaps not noted: then it comes back
        for number in in_doubt or ():
            self.messages[number].may_repeat = True
        if power:
            self._not_durable = [told for told in self._not_durable if told.settled]

    # --- in the end ---------------------------------------------------------------------------------------------------

    def nothing_is_missing(self, source: Sequence[int]) -> None:
        """Every message that was promised to arrive has, or was put aside; so has everything that the `source` had."""
        missing = [
            told.number
            for told in self.messages.values()
            if told.source == "caller" and told.status == "accepted" and not told.settled and not told.may_be_lost
        ]
        known = self.messages
        missing += [number for number in source if number not in known or not (known[number].settled or known[number].may_be_lost)]
        if len(missing) > self.unsettled_drops:
            self._fail(f"lost: {missing} ({self.unsettled_drops} were dropped by the policy for a full queue)")
