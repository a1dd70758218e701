"""``kitwatch rules``: are rules files sound, what would they have told, and what they may hold."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collector.core.rules.types import Rule


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|test|replay|keys|faults")
    check = actions.add_parser("check", help="check rules files on top of the shipped rules")
    check.add_argument("files", type=Path, nargs="*", metavar="FILE|DIR", help="in the order in which they override")
    check.add_argument("--fleet", type=Path, metavar="FILE", help="sites, vehicles and devices must be in it")
    check.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    from kitwatch import rules_replay

    rules_replay.describe(actions.add_parser("replay", help="what these rules would have told of a history"))
    test = actions.add_parser("test", help="run unit tests for rules, the shipped ones if no file is given")
    test.add_argument("files", type=Path, nargs="*", metavar="FILE", help="tests, as docs/rules.md describes them")
    test.add_argument(
        "--rules", type=Path, action="append", default=[], metavar="FILE|DIR", help="on top of the shipped"
    )
    actions.add_parser("keys", help="every key of a rules file, as docs/rules.md")
    actions.add_parser("faults", help="every fault that a rule may name, as docs/faults.md")


def run(args: argparse.Namespace) -> int:
    """Run it. Raises FileError with the first thing that is wrong."""
    if args.action == "replay":
        from kitwatch import rules_replay

        return rules_replay.replay(args)
    if args.action == "keys":
        from kitwatch.rules_reference import markdown

        print(markdown(), end="")
        return 0
    if args.action == "faults":
        from kitwatch import faults_reference

        print(faults_reference.markdown(), end="")
        return 0
    if args.action == "test":
        return _test(args.files, args.rules)
    from collector.core.rules.files import load_rules
    from telemetry.fleet import load_fleet

    rules = load_rules(args.files, load_fleet(args.fleet) if args.fleet else None)
    listed = [_row(rule) for rule in rules.by_id.values()]
    if args.json:
        found = {
            "files": [str(file) for file in args.files],
            "rules": listed,
            "overrides": [
                {"rule": override.id, "set": None if override.rule is None else _row(override.rule)}
                for override in rules.overrides
            ],
        }
        print(json.dumps(found, ensure_ascii=False))
        return 0
    width = max((len(str(row["rule"])) for row in listed), default=0)
    for row in listed:
        print(f"{row['rule']:<{width}}  version {row['version']}  {row['fault']}, {row['class']}")
    print(f"sound; {len(listed)} rules, {len(rules.overrides)} overrides")
    return 0


def _test(files: list[Path], rules: list[Path]) -> int:
    """Run tests and say what was not as expected; 1 if anything was not. Raises FileError."""
    from collector.core.rules.files import load_rules, shipped_tests
    from collector.rule_tests import failures, read_tests
    from telemetry.files import parse_yaml, read_yaml

    texts = [(str(file), read_yaml(file)) for file in files]
    if not files:
        texts = [(name, parse_yaml(text, name)) for name, text in shipped_tests()]
    loaded = load_rules(rules)
    count = wrong = 0
    for name, data in texts:
        for test in read_tests(data, name):
            found = failures(test, loaded)
            count, wrong = count + 1, wrong + bool(found)
            for one in found:
                print(f"{name}: {one.test}: {one.text}")
    print(f"{count} tests, {wrong} failed")
    return 1 if wrong else 0


def _row(rule: Rule) -> dict[str, Any]:
    sla_class, severity = rule.class_for("on_duty")
    return {
        "rule": rule.id,
        "version": rule.version,
        "fault": rule.fault.id,
        "class": sla_class,
        "severity": severity,
        "for_s": rule.for_ms / 1000,
        "clear_for_s": rule.clear_for_ms / 1000,
        "source": rule.source,
    }
