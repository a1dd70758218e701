"""What can break, and a seeded plan of when. Every fault has a beginning and, where it does not end itself, an end."""

from __future__ import annotations

import contextlib
import heapq
import math
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg

from tests.chaos.world import World
from tests.services.postgres import Postgres
from tests.services.process import need

DELAY_S: Final = 2.0
LOSS_PERCENT: Final = 20
Act = Callable[[str], None]


def _nothing(target: str) -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """One kind. While it lasts nothing else is done to its target. Times are in seconds."""

    targets: Sequence[str]
    begin: Act
    end: Act = _nothing
    least: float = 1.0
    most: float = 3.0


@dataclass(frozen=True)
class Planned:
    """One fault of a plan: when, which kind, to what, for how long."""

    at: float
    kind: str
    target: str
    lasts: float


def kinds(world: World, postgres: Postgres | None, longest_cut_s: float, *, lossy: bool) -> dict[str, Fault]:
    """Return what can break in this world. ``lossy``: the network is ours alone, so that it may lose packets."""
    agents = [f"{vehicle}-{agent}" for vehicle, agent in world.agents]
    collectors = [name for name in world.processes if not world.is_agent(name)]
    links = [f"link {name}" for name in agents]

    def pause(name: str) -> None:
        world.signal(name, signal.SIGSTOP)

    def resume(name: str) -> None:
        world.signal(name, signal.SIGCONT)

    def start_agent(name: str) -> None:
        world.start_agent(*name.rsplit("-", 1))

    def link(mode: str) -> Act:
        return lambda target: world.links[target.removeprefix("link ")].set(mode)  # type: ignore[arg-type]

    def delay(seconds: float) -> Act:
        return lambda target: setattr(world.links[target.removeprefix("link ")], "delay", seconds)

    def wipe(target: str) -> None:
        world.wipe_broker()

    broker, influx = world.broker, world.influx.influxd
    found = {
        "agent_killed": Fault(agents, world.kill, start_agent),
        "agent_stopped": Fault(agents, pause, resume, most=6),
        "collector_killed": Fault(collectors, world.kill, world.start_collector),
        "collector_stopped": Fault(collectors, pause, resume, most=12 if len(collectors) > 1 else 5),
        "broker_killed": Fault(["broker"], lambda _: broker.kill(), lambda _: broker.start()),
        "broker_wiped": Fault(["broker"], wipe, lambda _: broker.start()),
        "broker_stopped": Fault(["broker"], lambda _: broker.pause(), lambda _: broker.resume(), most=5),
        "influxdb_killed": Fault(["influxdb"], lambda _: influx.kill(), lambda _: influx.start()),
        "influxdb_stopped": Fault(["influxdb"], lambda _: influx.pause(), lambda _: influx.resume(), most=5),
        "link_cut": Fault(links, link("cut"), link("pass"), most=longest_cut_s),
        "link_half_open": Fault(links, link("stall"), lambda target: (link("cut")(target), link("pass")(target))[0]),
        "link_delayed_2s": Fault(links, delay(DELAY_S), delay(0), least=3, most=6),
    }
    if lossy:
        found["link_loses_20_percent"] = Fault(
            links,
            lambda target: lose(target, world.links[target.removeprefix("link ")].port),
            stop_losing,
            least=3,
            most=6,
        )
    if postgres is not None:
        database = Backends(postgres, world.database)
        found |= {
            "database_killed": Fault(["database"], lambda _: postgres.kill(), lambda _: postgres.start()),
            "database_backend_killed": Fault(["database"], database.kill, least=1, most=1),
            "database_backend_stopped": Fault(["database"], database.pause, database.resume, most=8),
        }
    return found


class Backends:
    """The server processes that hold a site's lock and commit for it."""

    def __init__(self, server: Postgres, database: str) -> None:
        self._server = server
        self._name = database.rpartition("/")[2]
        self._paused: list[int] = []

    def kill(self, target: str) -> None:
        """``kill -9``: the server then ends all other sessions too and recovers."""
        self._signal(signal.SIGKILL)

    def pause(self, target: str) -> None:
        """``SIGSTOP``: the owner's next commit hangs."""
        self._paused = self._signal(signal.SIGSTOP)

    def resume(self, target: str) -> None:
        """``SIGCONT``, if it still lives: a contender may have ended it."""
        for pid in self._paused:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._paused = []

    def _signal(self, number: signal.Signals) -> list[int]:
        """Send a signal to all of them; wait a moment for one to be there (the server may have just begun)."""
        until = time.monotonic() + 5
        pids: list[int] = []
        while not pids and time.monotonic() < until:
            with contextlib.suppress(psycopg.OperationalError):
                pids = self._find()
            time.sleep(0.1)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def _find(self) -> list[int]:
        query = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND application_name LIKE 'kitwatch %%'"
        with psycopg.connect(self._server.url, connect_timeout=3) as connection:
            return [pid for (pid,) in connection.execute(query, (self._name,)).fetchall()]


def lose(target: str, port: int) -> None:
    """Drop a share of the packets of a link, at random, in both directions. The network must be ours alone."""
    rules = f"""table inet {_table(target)} {{
        chain input {{
            type filter hook input priority 0;
            tcp dport {port} numgen random mod 100 < {LOSS_PERCENT} counter drop
            tcp sport {port} numgen random mod 100 < {LOSS_PERCENT} counter drop
        }}
    }}
    """
    subprocess.run([need("nft", "nftables"), "-f", "-"], input=rules.encode(), check=True)


def stop_losing(target: str) -> None:
    """Undo ``lose``."""
    subprocess.run([need("nft", "nftables"), "delete", "table", "inet", _table(target)], check=True)


def _table(target: str) -> str:
    return "chaos_" + target.replace(" ", "_").replace("-", "_")


class Planner:
    """Draws faults from a seed. Every kind comes once before any comes again."""

    def __init__(self, faults: Mapping[str, Fault], seed: int) -> None:
        self._faults = faults
        self._random = random.Random(seed)
        self._bag: list[str] = []

    def round(self, count: int) -> list[Planned]:
        """Return so many faults, some at the same time, none two to one target at once."""
        chance = self._random
        free: dict[str, float] = {}
        at = 0.0
        plan = []
        for _ in range(count):
            at += chance.uniform(0.1, 1.2)
            if not self._bag:
                self._bag = list(self._faults)
                chance.shuffle(self._bag)
            kind = self._bag.pop()
            fault = self._faults[kind]
            target = chance.choice(fault.targets)
            begins = max(at, free.get(target, 0.0) + 0.5)
            # short ones are the rule, long ones come too
            lasts = math.exp(chance.uniform(math.log(fault.least), math.log(fault.most)))
            free[target] = begins + lasts
            plan.append(Planned(begins, kind, target, lasts))
        return plan


def inject(
    revive: Callable[[], None], faults: Mapping[str, Fault], plan: Sequence[Planned], counts: Counter[str]
) -> None:
    """Carry out a plan and return when everything in it has ended; ``revive`` starts what ended by itself meanwhile.

    A step that takes long (a server that starts) delays the ones after it; a fault whose target has not got over the
    one before waits for that.
    """
    ends: dict[str, float] = {}
    """When the fault that each target is under ends."""
    begun = time.monotonic()
    steps = [(planned.at, 2 * number, planned, True) for number, planned in enumerate(plan)]
    heapq.heapify(steps)
    while steps:
        at, number, planned, beginning = heapq.heappop(steps)
        while (left := begun + at - time.monotonic()) > 0:
            revive()
            time.sleep(min(left, 1.0))
        fault = faults[planned.kind]
        if beginning and planned.target in ends:
            heapq.heappush(steps, (ends[planned.target] + 0.5, number, planned, True))
        elif beginning:
            fault.begin(planned.target)
            counts[planned.kind] += 1
            ends[planned.target] = time.monotonic() - begun + planned.lasts
            heapq.heappush(steps, (ends[planned.target], number + 1, planned, False))
        else:
            fault.end(planned.target)
            del ends[planned.target]
