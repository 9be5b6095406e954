"""Parts of a source as elements that a runner deals to different tasks.

Flink keys an element that is to be read by its encoded form, and gives the key to one of its tasks by a hash. Parts
that are restrictions of one element all go to one task, which reads them in turn, each until its bundle ends. Here each
part is an element of its own, with a number in front that is chosen so that its hash is the task's:

    source -> part 0, part 1, ...  -> seat (number, part), one a task -> read
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.internal import pickler
from apache_beam.io.unbounded_source import UnboundedSource
from apache_beam.pvalue import PBegin, PCollection

from beamsplit.runners.beam_patches.unbounded_reading import reading_dofn

TRIES = 100_000
"""Numbers that are tried for one part: one of as many as there are tasks fits."""

_BITS = 0xFFFFFFFF


class Seat(UnboundedSource):
    """A part of a source, as bytes that are the same wherever they are written."""

    def __init__(self, encoded: bytes):
        self.encoded = encoded

    def split(self, desired_num_splits: int, options: Any = None) -> Iterable[UnboundedSource]:
        """The part itself."""
        return [self._part()]

    def create_reader(self, options: Any, checkpoint_mark: Any) -> Any:
        """The part's reader, where a runner does not split."""
        return self._part().create_reader(options, checkpoint_mark)

    def get_checkpoint_mark_coder(self) -> beam.coders.Coder:
        """The part's."""
        return self._part().get_checkpoint_mark_coder()

    def _part(self) -> UnboundedSource:
        part: UnboundedSource = pickler.loads(self.encoded[4:])
        return part


class SeatCoder(beam.coders.Coder):
    """A seat as its bytes."""

    def encode(self, value: Seat) -> bytes:
        """Its bytes."""
        return value.encoded

    def decode(self, encoded: bytes) -> Seat:
        """Read back the seat."""
        return Seat(encoded)

    def is_deterministic(self) -> bool:
        """The same bytes as were chosen."""
        return True


beam.coders.registry.register_coder(Seat, SeatCoder)


def seats(parts: Sequence[UnboundedSource]) -> list[Seat]:
    """The parts, each for a task of its own where Flink has as many tasks as there are parts."""
    return [_seat(pickler.dumps(part), task, len(parts)) for task, part in enumerate(parts)]


def _seat(part: bytes, task: int, tasks: int) -> Seat:
    for number in range(TRIES):
        encoded = number.to_bytes(4, "big") + part
        if flink_task(encoded, tasks) == task:
            return Seat(encoded)
    raise AssertionError(f"no number of {TRIES} gives part {task} of {tasks} its task")


def flink_task(encoded: bytes, tasks: int) -> int:
    """Which of `tasks` Flink gives an element of these bytes.

    Flink's KeyGroupRangeAssignment (hash -> key group -> task) of a Java ByteBuffer that holds their number and them.
    """
    groups = max(128, 1 << (tasks + tasks // 2 - 1).bit_length())
    return _murmur(_java_hash(_length(len(encoded)) + encoded)) % groups * tasks // groups


def _length(size: int) -> bytes:
    made = bytearray()
    while size > 0x7F:
        made.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*made, size])


def _java_hash(text: bytes) -> int:
    found = 1
    for byte in reversed(text):
        found = (31 * found + (byte if byte < 128 else byte - 256)) & _BITS
    return found


def _murmur(code: int) -> int:
    """MathUtils.murmurHash of Flink: MurmurHash3 of one word, without its sign."""
    code = code * 0xCC9E2D51 & _BITS
    code = (code << 15 | code >> 17) & _BITS
    code = code * 0x1B873593 & _BITS
    code = (code << 13 | code >> 19) & _BITS
    code = (code * 5 + 0xE6546B64 & _BITS) ^ 4
    code ^= code >> 16
    code = code * 0x85EBCA6B & _BITS
    code ^= code >> 13
    code = code * 0xC2B2AE35 & _BITS
    code ^= code >> 16
    return 0 if code == 0x80000000 else code if code < 0x80000000 else (1 << 32) - code


class ReadParts(beam.PTransform):
    """PBegin -> what the parts of an unbounded source give.

    Args:
        parts: sources that are not split further.
        bundle_seconds: how long a bundle lasts while there is work.
    """

    def __init__(self, parts: Sequence[UnboundedSource], bundle_seconds: float):
        super().__init__()
        self._seats = seats(parts)
        self._dofn = reading_dofn(bundle_seconds)

    def expand(self, begin: PBegin) -> PCollection:
        """Wire: the seats, and Beam's own reading of unbounded sources."""
        return begin | beam.Create(self._seats, reshuffle=False).with_output_types(Seat) | beam.ParDo(self._dofn)
