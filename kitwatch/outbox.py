"""``kitwatch outbox ls|verify|export DIRECTORY``: what an agent keeps on its disk.

Reads only, takes no lock and changes nothing, so it may be used beside a running agent: segments are read first and the
manifest last, and what the agent deletes in between stands there as released by then.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.outbox.entries import Contents, RunEntries
    from agent.outbox.segment_file import Index, Name
    from telemetry.intervals import Intervals
    from telemetry.records import Record


@dataclass(frozen=True, slots=True)
class View:
    """An outbox as it stands: its segments, what was found in each and their lengths, and the manifest's contents."""

    directory: Path
    segments: list[tuple[Name, Index, int]]
    manifest: Contents

    def runs(self) -> list[str]:
        """Return the runs, oldest first as far as the manifest tells."""
        known = list(self.manifest.runs)
        return [run for run in dict.fromkeys(name.run for name, _, _ in self.segments) if run not in known] + known

    def present(self, run: str) -> Intervals:
        """Return the numbers of a run that can be read."""
        from telemetry.intervals import Intervals

        result = Intervals()
        for name, index, _ in self.segments:
            if name.run == run:
                result.update(index.present)
        return result

    def absent(self, run: str) -> Intervals:
        """Return the numbers of a run that the manifest says are released or lost."""
        from telemetry.intervals import Intervals

        noted = self.manifest.runs.get(run)
        return noted.absent if noted else Intervals()

    def holes(self, run: str) -> Intervals:
        """Return numbers that were used and are neither there nor released nor known as lost.

        A run that may still be going on is looked at up to its last sample only: events are synced before samples.
        """
        from telemetry.intervals import Intervals

        noted = self.manifest.runs.get(run)
        firsts = [name.first for name, _, _ in self.segments if name.run == run]
        ends = {"sample": -1, "event": -1}
        for name, index, _ in self.segments:
            if name.run == run and index.present:
                ends[name.kind] = max(ends[name.kind], index.present.pairs()[-1][1])
        last = ends["sample"] if noted and noted.last is None else max(ends.values())
        last = max(last, noted.last if noted and noted.last is not None else -1)
        first = 0 if noted else min(firsts, default=0)
        if last < first:
            return Intervals()
        return Intervals([(first, last)]).minus(self.present(run)).minus(self.absent(run))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ls|verify|export", required=True)
    for action, text in (
        ("ls", "list segments and runs"),
        ("verify", "check every frame; exit status 1 if something is damaged or missing"),
        ("export", "print the records that are held, one a line"),
    ):
        one = actions.add_parser(action, help=text, description=f"{text[0].upper()}{text[1:]}.")
        one.add_argument("directory", metavar="DIRECTORY", type=Path, help="the agent's outbox")
        one.add_argument("--json", action="store_true", help="JSON on standard output, nothing else")


def run(args: argparse.Namespace) -> int:
    """List, verify or export. Returns 0, 1 if something is damaged or missing, 2 if there is no outbox to read."""
    try:
        view = look(args.directory)
    except OSError as error:
        reason = error.strerror or error
        print(f"{args.directory}: expected the directory of an outbox, found: {reason}", file=sys.stderr)
        return 2
    if not view.segments and not view.manifest.runs:
        print(f"{args.directory}: expected the directory of an outbox, found no segment in it", file=sys.stderr)
        return 2
    try:
        if args.action == "ls":
            return _ls(view, as_json=args.json)
        if args.action == "verify":
            return _verify(view, as_json=args.json)
        return _export(view, as_json=args.json)
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
        return 0


def look(directory: Path) -> View:
    """Return what stands in a directory. Raises OSError if it cannot be read."""
    from agent.outbox import entries, manifest
    from agent.outbox.disk import Disk, read_past_errors
    from agent.outbox.segment_file import Name, index

    disk = Disk()
    found = []
    for entry in sorted(disk.list(directory), key=lambda entry: (entry.modified_ns, entry.name)):
        name = Name.parse(entry.name)
        if name is not None:
            try:
                found.append((name, index(read_past_errors(disk, directory / entry.name, entry.size)), entry.size))
            except FileNotFoundError:  # released meanwhile
                continue
    found.sort(key=lambda part: part[0].first)
    try:
        path = directory / manifest.FILE
        contents = entries.read(disk.read(path, 0, path.stat().st_size))
    except FileNotFoundError:
        contents = entries.Contents()
    return View(directory, found, contents)


# --- ls ---------------------------------------------------------------------------------------------------------------


def _ls(view: View, *, as_json: bool) -> int:
    segments = [
        {
            "file": str(name),
            "class": name.kind,
            "run": name.run,
            "first": name.first,
            "records": index.frames,
            "bytes": size,
            "used": index.used,
            "first_mono_ms": index.first_mono_ms,
            "last_mono_ms": index.last_mono_ms,
        }
        for name, index, size in view.segments
    ]
    runs = [_run_figures(view, run) for run in view.runs()]
    if as_json:
        print(json.dumps({"segments": segments, "runs": runs}))
        return 0
    for segment in segments:
        print("{file}  {records:6} records  {used:8} of {bytes:8} bytes".format(**segment))
    for figures in runs:
        print("run {run}  boot {boot}  held {held}  schemas {schemas}  clocks {clocks}".format(**figures))
    return 0


def _run_figures(view: View, run: str) -> dict[str, Any]:
    noted = view.manifest.runs.get(run)
    return {
        "run": run,
        "boot": noted.boot if noted else "",
        "held": len(view.present(run).minus(view.absent(run))),
        "schemas": len(noted.schemas) if noted else 0,
        "clocks": len(noted.clocks) if noted else 0,
    }


# --- verify -----------------------------------------------------------------------------------------------------------


def _verify(view: View, *, as_json: bool) -> int:
    damaged = [
        {"file": str(name), "offset": gap.offset, "bytes": gap.end - gap.offset, "frames": gap.frames}
        for name, index, _ in view.segments
        for gap in index.damaged
    ]
    torn = [str(name) for name, index, _ in view.segments if len(index.damaged) < len(index.gaps)]
    holes = {run: view.holes(run).pairs() for run in view.runs() if view.holes(run)}
    good = not damaged and not holes and not view.manifest.skipped
    records = sum(index.frames for _, index, _ in view.segments)
    if as_json:
        result = {"ok": good, "records": records, "damaged": damaged, "torn": torn, "missing": holes}
        print(json.dumps(result | {"ledger_bytes_damaged": view.manifest.skipped}))
        return 0 if good else 1
    for part in damaged:
        print("{file}: {bytes} bytes damaged at {offset}, about {frames} records".format(**part))
    for file in torn:
        print(f"{file}: its last record was never written whole; that is no damage")
    for run, pairs in holes.items():
        print(f"run {run}: records missing: {', '.join(f'{a}-{b}' for a, b in pairs)}")
    if view.manifest.skipped:
        print(f"ledger: {view.manifest.skipped} bytes damaged")
    print(f"{records} records in {len(view.segments)} segments: {'sound' if good else 'damaged'}")
    return 0 if good else 1


# --- export -----------------------------------------------------------------------------------------------------------


def _export(view: View, *, as_json: bool) -> int:
    for run in view.runs():
        noted = view.manifest.runs.get(run)
        for record in _records(view, run):
            row = _row(view, run, noted, record)
            print(json.dumps(row, ensure_ascii=False) if as_json else _line(row))
    return 0


def _records(view: View, run: str) -> Iterator[Record]:
    """Yield the records held of a run: events first, then samples, each ascending."""
    from agent.outbox import segment_file
    from agent.outbox.disk import Disk, read_past_errors

    absent = view.absent(run)
    for name, index, size in sorted(view.segments, key=lambda part: part[0]):
        wanted = index.present.minus(absent)
        if name.run == run and wanted:
            try:
                data = read_past_errors(Disk(), view.directory / str(name), size)
            except FileNotFoundError:
                continue
            yield from segment_file.records(name.kind, data, wanted)


def _row(view: View, run: str, noted: RunEntries | None, record: Record) -> dict[str, Any]:
    from telemetry.records import Sample, clock_for

    clock = clock_for(noted.clocks, record.mono_ms) if noted else None
    row: dict[str, Any] = {
        "run": run,
        "sequence": record.sequence,
        "mono_ms": record.mono_ms,
        "time_ms": clock.place(record.mono_ms) if clock else None,
    }
    if not isinstance(record, Sample):
        return row | {"event": record.kind, "device": record.device, "body": record.body}
    schema = view.manifest.schemas.get(record.schema)
    if schema is None or len(schema.columns) != len(record.values):
        return row | {"schema": record.schema, "values": list(record.values)}
    names = (
        column.metric
        + ("{" + ",".join(f"{k}={v}" for k, v in sorted(column.labels.items())) + "}" if column.labels else "")
        for column in schema.columns
    )
    values = {name: value for name, value in zip(names, record.values, strict=True) if value is not None}
    return row | {"input": schema.input, "device": schema.device, "values": values}


def _line(row: dict[str, Any]) -> str:
    moment = row["time_ms"]
    when = f"+{row['mono_ms'] / 1000:.3f}s"
    if moment is not None:
        when = datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")
    what = row.get("event") or row.get("input") or f"schema {row['schema']}"
    rest = row.get("body", row.get("values"))
    text = json.dumps(rest, ensure_ascii=False)
    return f"{when}\t{row['run']}/{row['sequence']}\t{what}\t{row.get('device', '')}\t{text}"
