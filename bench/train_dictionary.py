"""Makes ``telemetry/dictionary-N.bin`` anew, byte for byte: ``python -m bench.train_dictionary [--check]``.

The corpus is what agents and collectors say about standard kits with other device names and other seeds than the
benchmarks use, so that neither values nor schema names are learnt by heart; nor, in format 2, numbers of schemas, which
come in another order for each seed. Pieces are chosen as in COVER (Liao,
Petri, Moffat, Wirth: Effective construction of relative Lempel-Ziv dictionaries, WWW 2016): a piece is worth the sum of
what its strings of eight bytes occur in, each string counted once. The most useful stand last, where deflate reaches
them with the shortest distances, and behind them one whole moment, all parts in their order. A file is part of the
format of its number and must not change once that is released.
"""

from __future__ import annotations

import argparse
import random
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from bench.standard_kit import MOMENTS_A_DAY, KitSample, parts, samples
from telemetry.message import DEFLATED, NUMBERED, EventEntry, Needed, Placed, Receipt, SchemaBody, moments
from telemetry.metrics import METRICS
from telemetry.records import Clock, Column, Sample, Schema

FIRST_SEED: Final = 9_001


class Training(NamedTuple):
    """What a format's dictionary is trained on, and its size in bytes."""

    size: int
    vehicles: int
    moments: int


TRAININGS: Final = {DEFLATED: Training(7 * 1024, 8, 120), NUMBERED: Training(28 * 1024, 24, 60)}
GRAM: Final = 8
PIECE: Final = 64


def main() -> int:
    """Write the files, or say with ``--check`` whether they are what would be written."""
    parser = argparse.ArgumentParser(prog="python -m bench.train_dictionary", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args().check
    differing = 0
    for format in TRAININGS:
        made, file = train(format), file_of(format)
        if not check:
            file.write_bytes(made)
        elif file.read_bytes() != made:
            differing += 1
            print(f"{file.name}: differs")
            continue
        print(f"{file.name}: {len(made)} bytes")
    return min(differing, 1)


def file_of(format: int) -> Path:
    """Return where a format's dictionary stands."""
    return Path(__file__).parents[1] / "telemetry" / f"dictionary-{format}.bin"


def train(format: int) -> bytes:
    """Return a format's dictionary."""
    corpus = list(_moments(format))
    vocabulary, whole = _vocabulary(format), corpus[0]
    return vocabulary + _cover(corpus, TRAININGS[format].size - len(vocabulary) - len(whole)) + whole


def deflated(body: bytes, dictionary: bytes) -> int:
    """Return how many bytes ``telemetry.message`` makes of a body with this dictionary."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, dictionary)
    return len(packer.compress(body) + packer.flush())


def body_of(moment: list[KitSample], numbers: Mapping[str, int] | None = None) -> bytes:
    """Return the body of a live message, as JSON; ``numbers`` are those of the schemas, from format 2 on."""
    found = [Placed(Sample(0, one.mono_ms, one.part.schema_id, one.values), 0) for one in moment]
    return msgspec.json.encode(moments(found, numbers))


def _moments(format: int) -> Iterator[bytes]:
    """Yield live messages of some vehicles, each with names of its own, from the first hours to days later."""
    training = TRAININGS[format]
    for seed in range(FIRST_SEED, FIRST_SEED + training.vehicles):
        names = {part.device: f"{part.device}-{seed}" for part in parts()}
        start = (seed - FIRST_SEED) * MOMENTS_A_DAY * 10_000 // 3 + 10_000
        kit = list(parts(names))
        numbers: dict[str, int] | None = None
        if format == NUMBERED:
            random.Random(seed).shuffle(kit)
            numbers = {part.schema_id: number for number, part in enumerate(kit)}
        for moment in samples(seed, training.moments, tuple(kit), start):
            yield body_of(moment, numbers)


def _vocabulary(format: int) -> bytes:
    """Return what is said seldom and costs much then: metric names in schemas, events, states, receipts.

    It stands first, farthest away; what every moment says comes behind it. The metrics are those of the catalogue when
    the dictionary was trained.
    """
    known = Path(__file__).with_name(f"dictionary-{format}.txt").read_text(encoding="utf-8").split()
    metrics = [METRICS[name] for name in known]
    numbers = {"": 0} if format == NUMBERED else msgspec.UNSET
    columns = [Column(metric.name, {label: ""}) for metric in metrics for label in [*metric.labels[:1]] if label]
    columns += [Column(metric.name) for metric in metrics if not metric.labels]
    states = [word for metric in metrics for word in metric.states]
    said: list[Any] = [
        EventEntry("lost", "", {"run": "", "intervals": [[0, 9]], "reason": "evicted"}),
        EventEntry("problem", "camera-1", {"input": "snmp", "problem": "no answer over SNMP"}),
        EventEntry("problem", "camera-1", {"input": "snmp", "problem": ""}),
        EventEntry(
            "inventory",
            "router",
            {"input": "snmp", "vendor": "", "model": "", "firmware": "", "serial": "", "imei": ""},
        ),
        Receipt(1, ("", 1), {"": [(0, 9)]}, {"": Needed(("",), (-1,))}),
        list(dict.fromkeys(states)),
        SchemaBody(
            "",
            {"": Schema("snmp", "router", tuple(columns))},
            (Clock(0, 1000, 1_790_000_000_000, "ntp", 5),),
            numbers=numbers,
        ),
    ]
    return b"".join(msgspec.json.encode(one) for one in said)


def _cover(corpus: list[bytes], size: int) -> bytes:
    """Return at most ``size`` bytes of the corpus, the most useful piece last."""
    worth: Counter[bytes] = Counter()
    for text in corpus:
        worth.update({text[at : at + GRAM] for at in range(len(text) - GRAM + 1)})
    worth = Counter({gram: count for gram, count in worth.items() if count > 1})
    chosen: list[tuple[int, bytes]] = []
    room = size
    part = max(1, len(corpus) * PIECE // size)
    at = 0
    idle = 0
    while room >= GRAM and idle < len(corpus):
        piece, value = _best(corpus[at : at + part], worth)
        at = at + part if at + part < len(corpus) else 0
        if not value:
            idle += part
            continue
        idle = 0
        chosen.append((value, piece[:room]))
        room -= len(piece[:room])
        for start in range(len(piece) - GRAM + 1):
            worth.pop(piece[start : start + GRAM], None)
    return b"".join(piece for _, piece in sorted(chosen, key=lambda one: one[0]))


def _best(corpus: list[bytes], worth: Counter[bytes]) -> tuple[bytes, int]:
    """Return the piece of ``PIECE`` bytes that is worth most, and its worth."""
    best, most = b"", 0
    for text in corpus:
        values = [worth[text[at : at + GRAM]] for at in range(len(text) - GRAM + 1)]
        span = PIECE - GRAM + 1
        value = sum(values[:span])
        for start in range(max(1, len(values) - span + 1)):
            if start:
                value += values[start + span - 1] - values[start - 1]
            if value > most:
                best, most = text[start : start + PIECE], value
    return best, most


if __name__ == "__main__":
    sys.exit(main())
