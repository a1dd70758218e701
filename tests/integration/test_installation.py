"""docs/installation, executed from its first block to its last in two empty machines with a real systemd.

Offline: Debian's packages are installed here already, pip finds the locked wheels in a folder.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.guide import blocks
from tests.integration.namespace import namespace
from tests.long_run import RESULTS, Record
from tests.services.environments import wheels
from tests.services.machine import Machine, machine

pytestmark = pytest.mark.timeout(1800)
ROOT = Path(__file__).parents[2]
GUIDE = blocks("en")
FIRST_SAMPLE = "SELECT last(cpu_percent)"
"""In the block that waits for it."""


@dataclass
class Guide:
    """Both machines, and how far the guide is gone through."""

    machines: dict[str, Machine]
    done: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    commands: Counter[str] = field(default_factory=Counter)
    to_the_first_sample: dict[str, Any] = field(default_factory=dict)
    """Commands and minutes until then."""

    @property
    def centre(self) -> Machine:
        return self.machines["centre"]

    @property
    def vehicle(self) -> Machine:
        return self.machines["vehicle"]

    def follow(self, section: int) -> list[str]:
        """Run the blocks up to the end of a section; return what they printed."""
        printed = []
        while self.done < len(GUIDE) and GUIDE[self.done].section <= section:
            block, self.done = GUIDE[self.done], self.done + 1
            if block.machine is None:
                continue
            begun = time.monotonic()
            if block.machine == "developer":
                subprocess.run(block.text, shell=True, cwd=ROOT, check=True, capture_output=True)
                self.carry_release()
            else:
                printed.append(self.machines[block.machine].run(block.text, timeout=600).stdout)
            self.seconds[block.machine] += time.monotonic() - begun
            self.commands[block.machine] += len(block.commands)
            self.carry_archives()
            if FIRST_SAMPLE in block.text:
                self.to_the_first_sample = self.so_far()
        return printed

    def so_far(self) -> dict[str, Any]:
        """Return what was typed until now, and how long it ran, by machine."""
        return {
            "commands": dict(self.commands),
            "minutes": {name: round(seconds / 60, 2) for name, seconds in self.seconds.items()},
            "total_commands": sum(self.commands.values()),
            "total_minutes": round(sum(self.seconds.values()) / 60, 2),
        }

    def carry_release(self) -> None:
        (release,) = (ROOT / "dist").glob("kitwatch-*.tar.gz")
        for one in self.machines.values():
            shutil.copy(release, one.root / "root")

    def carry_archives(self) -> None:
        """Do what the guide asks of people: take the archives from the centre to the vehicle, leave none behind."""
        for archive in (self.centre.root / "root").glob("amb-*.tar"):
            shutil.move(archive, self.vehicle.root / "root")


@pytest.fixture
def guide(tmp_path: Path) -> Iterator[Guide]:
    """Two empty machines that reach each other; the name of the broker leads from the vehicle to the centre."""
    shows = {wheels(): "/srv"}
    with (
        namespace() as network,
        machine(tmp_path / "centre", network=network.name, shows=shows) as centre,
        machine(tmp_path / "vehicle", network=network.name, shows=shows) as vehicle,
    ):
        for one in (centre, vehicle):
            (one.root / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /srv\n")
            with (one.root / "etc/hosts").open("a") as hosts:
                hosts.write("127.0.0.1 mqtt.example.org\n")
        yield Guide({"centre": centre, "vehicle": vehicle})


def active(one: Machine, unit: str) -> dict[str, str]:
    """Return what systemd says of a unit, which must be active and never have been started again."""
    shown = one.show(
        unit, "ActiveState", "SubState", "NRestarts", "Result", "StatusText", "ActiveEnterTimestampMonotonic"
    )
    assert (shown["ActiveState"], shown["SubState"], shown["NRestarts"]) == ("active", "running", "0"), (
        shown,
        one.journal(unit)[-3000:],
    )
    return shown


def a_sample_is_in_influxdb_from_nothing(guide: Guide) -> None:
    """Sections 1 to 4: release, centre, vehicle, and a look at what came of it."""
    printed = guide.follow(4)
    kit, seen, own = printed[-3:]
    assert "box/system (host): " in kit
    assert "last" in seen
    assert "vehicle=amb-03" in seen
    assert "site centre: listening since" in seen
    assert '"ready":true' in seen.replace(" ", "")
    assert '"status":"ok"' in seen.replace(" ", "")
    assert "site centre: rules: in force" in own


def both_units_are_active_and_were_never_started_again(guide: Guide) -> None:
    time.sleep(15)
    active(guide.centre, "kitwatch-collector")
    active(guide.vehicle, "kitwatch-agent")
    active(guide.centre, "mosquitto")


def the_outbox_is_on_disk_and_nobody_says_otherwise(guide: Guide) -> None:
    state = guide.vehicle.root / "var/lib/kitwatch/agent"
    assert list((state / "outbox").glob("*")), list(state.rglob("*"))
    assert json.loads((state / "notes.json").read_text())["boots"] == 1
    complaints = "journalctl --quiet --no-pager --output=cat --unit=kitwatch-agent --priority=warning"
    assert guide.vehicle.run(complaints).stdout == ""
    wait_until(lambda: influx(guide, "SELECT count(outbox_volatile) FROM agent WHERE outbox_volatile = false") > 0)
    assert influx(guide, "SELECT count(outbox_volatile) FROM agent WHERE outbox_volatile = true") == 0


def wait_until(holds: Callable[[], bool], seconds: float = 90) -> None:
    """Look once a second until it holds; fail the test when it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(1)


def samples(guide: Guide, agent: str) -> int:
    """Return how many samples of an agent's box are in InfluxDB."""
    return influx(guide, f"SELECT count(uptime_s) FROM host WHERE agent = '{agent}'")


def influx(guide: Guide, query: str) -> int:
    """Return the one number that a query gives, 0 for none."""
    told = guide.centre.run(f"influx -database kitwatch -format csv -execute {json.dumps(query)}").stdout.split()
    return int(told[-1].rpartition(",")[2]) if told else 0


def the_database_is_written_and_its_folder_is_the_collectors_only(guide: Guide) -> None:
    script = """
        stat --format='%a %U %G' /var/lib/kitwatch/collector /var/lib/kitwatch/collector/kitwatch.sqlite
        runuser -u kitwatch -- /opt/kitwatch/bin/python -c "
import sqlite3
database = sqlite3.connect('file:/var/lib/kitwatch/collector/kitwatch.sqlite?mode=ro', uri=True)
print(database.execute('SELECT sum(last_batch) FROM site').fetchone()[0])"
    """
    folder, file, batches = guide.centre.run(script).stdout.split("\n")[:3]
    assert (folder, file) == ("750 kitwatch kitwatch", "600 kitwatch kitwatch")
    assert int(batches) > 0


def every_key_is_readable_by_its_owner_only(guide: Guide) -> None:
    keys = "find /etc/kitwatch /etc/mosquitto /etc/nginx -name '*.key' -printf '%p %m %u\\n' | sort"
    assert guide.centre.run(keys).stdout.splitlines() == [
        "/etc/kitwatch/ca/centre.key 600 root",
        "/etc/kitwatch/ca/vehicles.key 600 root",
        "/etc/kitwatch/collector.key 600 kitwatch",
        "/etc/mosquitto/certs/server.key 600 mosquitto",
        "/etc/nginx/kitwatch/server.key 600 root",
    ]
    assert guide.vehicle.run(keys).stdout.splitlines() == ["/etc/kitwatch/agent.key 600 kitwatch"]
    assert not list((guide.centre.root / "root").glob("*.tar"))


def the_units_keep_what_systemd_promises_of_them(guide: Guide) -> None:
    """In the running system, not from the file: what may be written, which calls are refused, what may be reached."""
    for one, unit in ((guide.vehicle, "kitwatch-agent"), (guide.centre, "kitwatch-collector")):
        exposure = one.run(f"systemd-analyze security --no-pager {unit} | tail -1").stdout
        figure = re.search(r": (\d+\.\d)", exposure)
        assert figure is not None
        assert float(figure[1]) < 3.0, exposure
        state = one.run(
            f"grep -E '^(NoNewPrivs|Seccomp|CapEff):' /proc/$(systemctl show -P MainPID {unit})/status"
        ).stdout
        assert re.findall(r"NoNewPrivs:\s+1|Seccomp:\s+2", state.replace("\t", " ")), state


def the_journal_knows_levels_and_what_happened(guide: Guide) -> None:
    """By the ``<n>`` of each line: warnings can be asked for, and the prefix itself is not in the text."""
    said = guide.vehicle.journal("kitwatch-agent")
    assert "connected to mqtt.example.org:8883 over TLS as centre/amb-03/router" in said
    assert "the collector of site centre takes records" in said
    assert "<6>" not in said
    asked = "journalctl --no-pager --output=cat --unit={} --priority={}"
    (line,) = guide.vehicle.run(
        "journalctl --no-pager --output=json --unit=kitwatch-agent | grep 'connected to' | head -1"
    ).stdout.splitlines()
    assert json.loads(line)["PRIORITY"] == "6"
    assert "connected to" not in guide.vehicle.run(asked.format("kitwatch-agent", "warning")).stdout
    assert "owner in epoch" in guide.centre.run(asked.format("kitwatch-collector", "info")).stdout


def the_board_answers_through_the_proxy_with_a_password_only(guide: Guide) -> None:
    """Signed in as the admin whom the guide has made, over TLS and below the path."""
    curl = "curl --silent --cacert /etc/kitwatch/ca/centre.crt --cookie /root/jar --cookie-jar /root/jar"
    ask, board = f"{curl} --output /dev/null --write-out '%{{http_code}}'", "https://127.0.0.1/kitwatch"
    assert guide.centre.run(f"{ask} {board}/").stdout == "401"
    assert guide.centre.run(f"{ask} --header 'Accept: text/html' {board}/").stdout == "303"
    form = guide.centre.run(f"{curl} {board}/sign-in").stdout
    (token,) = re.findall(r'name="csrf_token" value="([^"]+)"', form)
    password = json.loads(guide.centre.run("cat /root/board-password").stdout)["password"]
    fields = f"--data csrf_token={token} --data name=admin --data token="
    assert guide.centre.run(f"{ask} {fields} --data password=wrong {board}/sign-in").stdout == "401"
    assert guide.centre.run(f"{ask} {fields} --data password={password} {board}/sign-in").stdout == "303"
    assert guide.centre.run(f"{ask} {board}/").stdout == "200"
    assert guide.centre.run(f"{ask} {board}/api/vehicles").stdout == "200"


def the_watchdog_is_kept_for_three_minutes(guide: Guide) -> None:
    """Three times WatchdogSec; samples go on arriving meanwhile."""
    units = ((guide.vehicle, "kitwatch-agent"), (guide.centre, "kitwatch-collector"))
    before = samples(guide, "router")
    for one, unit in units:
        assert one.show(unit, "WatchdogUSec")["WatchdogUSec"] == "1min"
    pids = [one.show(unit, "MainPID")["MainPID"] for one, unit in units]
    time.sleep(180)
    for (one, unit), pid in zip(units, pids, strict=True):
        active(one, unit)
        assert one.show(unit, "MainPID")["MainPID"] == pid
    assert samples(guide, "router") >= before + 15


def a_second_agent_on_the_same_box_has_an_outbox_of_its_own(guide: Guide) -> None:
    guide.follow(5)
    wait_until(lambda: samples(guide, "second") > 0)
    for unit in ("kitwatch-agent", "kitwatch-agent@second"):
        active(guide.vehicle, unit)
    assert list((guide.vehicle.root / "var/lib/kitwatch/second/outbox").glob("*"))
    assert (guide.vehicle.root / "etc/kitwatch/profiles/1/acme/box.yaml").is_file()  # it came with the archive


def a_lost_boxs_session_ends_and_the_others_come_back(guide: Guide) -> None:
    guide.follow(6)
    after = samples(guide, "router")
    wait_until(lambda: samples(guide, "router") >= after + 2)
    stopped = samples(guide, "second")
    time.sleep(25)
    assert samples(guide, "second") == stopped
    assert "no connection to mqtt.example.org" in guide.vehicle.journal("kitwatch-agent@second").splitlines()[-1]


def an_upgrade_goes_on_where_the_old_version_stopped(guide: Guide) -> None:
    before = samples(guide, "router")
    guide.follow(7)
    active(guide.centre, "kitwatch-collector")
    wait_until(lambda: samples(guide, "router") >= before + 3)
    assert list((guide.centre.root / "var/lib/kitwatch/collector").glob("*.backup"))


def uninstalling_leaves_nothing(guide: Guide) -> None:
    guide.follow(8)
    for one in guide.machines.values():
        left = "find / -xdev -iname '*kitwatch*' -not -path '/proc/*' -not -path '/root/*' -not -path '/var/log/*'"
        found = one.run(f"{left} -not -path '/var/lib/influxdb/*' -not -path '/tmp/*' -not -path '/run/*'", check=False)
        assert found.stdout == ""
        assert one.run("getent passwd kitwatch", check=False).returncode == 2
        assert one.run("systemctl list-units --failed --no-legend").stdout == ""


def test_the_guide_from_its_first_block_to_its_last(guide: Guide) -> None:
    """One test, because each step needs those before it. Nine minutes at most; three of them for the watchdog.

    What it took is written into ``dist/``, or with ``KITWATCH_RECORD=1`` into ``bench/results/``.
    """
    began, begun, held = datetime.datetime.now(datetime.UTC), time.monotonic(), False
    try:
        for step in (
            a_sample_is_in_influxdb_from_nothing,
            both_units_are_active_and_were_never_started_again,
            the_outbox_is_on_disk_and_nobody_says_otherwise,
            the_database_is_written_and_its_folder_is_the_collectors_only,
            every_key_is_readable_by_its_owner_only,
            the_units_keep_what_systemd_promises_of_them,
            the_journal_knows_levels_and_what_happened,
            the_board_answers_through_the_proxy_with_a_password_only,
            the_watchdog_is_kept_for_three_minutes,
            a_second_agent_on_the_same_box_has_an_outbox_of_its_own,
            a_lost_boxs_session_ends_and_the_others_come_back,
            an_upgrade_goes_on_where_the_old_version_stopped,
            uninstalling_leaves_nothing,
        ):
            print(f"-- {step.__name__}")
            step(guide)
        assert guide.done == len(GUIDE)
        held = True
    finally:
        record = Record(
            run="installation",
            module="pytest",
            arguments=["tests/integration/test_installation.py"],
            seeds=(),
            began=began,
            seconds=time.monotonic() - begun,
            counts={
                "what": "docs/installation from two empty machines to a sample in InfluxDB",
                **guide.to_the_first_sample,
                "packages": "on the disk already, pip from a folder: downloads are not counted",
                "load_average": os.getloadavg()[1],
                "whole_guide": guide.so_far(),
            },
            held=held,
        )
        print(record.write(RESULTS if os.environ.get("KITWATCH_RECORD") else ROOT / "dist"))
