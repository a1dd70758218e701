"""The collector, wired together: sites, sinks, channels, pages. Only this file knows all the others."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from collector.accounts.accounts import Lasting
from collector.change_log import ChangeLog
from collector.channels import deliveries
from collector.channels.deliveries import Lane
from collector.channels.notifier import Notifier
from collector.channels.people import People
from collector.config import CollectorConfig, Web, load_fleet_of, socket_path
from collector.contract import load_contract
from collector.core.rules.files import load_rules
from collector.core.rules.types import Rules
from collector.dead_mans_switch import NAME as SWITCH
from collector.dead_mans_switch import Caller
from collector.garbage import collect_seldom, give_back
from collector.read.sites import unready
from collector.reload import differing, put
from collector.retention import Bounds, Keeper
from collector.roster import check_channels
from collector.sinks import influxdb
from collector.sinks.registry import sinks_of
from collector.sinks.runner import SinkRunner
from collector.site.handover import Handover
from collector.site.health import (
    PEOPLE,
    CertificateFile,
    CertificateHealth,
    DiskHealth,
    InfluxHealth,
    PeopleHealth,
    ReceiverHealth,
    SinkHealth,
    Watched,
)
from collector.site.in_force import InForce, Receiver
from collector.site.mqtt import Connection
from collector.site.owner import SiteOwner
from collector.site.status import stuck, unwell
from collector.store.errors import StoreAway, StoreError
from collector.store.rows import Changes
from collector.store.store import Store
from collector.store.upgrade import upgrade
from collector.web import connections
from collector.web.app import Sources, make_app
from collector.web.connections import Counts, Limits
from telemetry.backoff import Backoff
from telemetry.files import FileError
from telemetry.fleet import Fleet
from telemetry.mqtt import MqttConnection
from telemetry.systemd import Notify

log = logging.getLogger(__name__)

WATCH_S: Final = 10.0
"""How often it is looked at whether every site gets on, where systemd does not ask more often."""


Companion = Callable[[asyncio.Event], Awaitable[None]]
"""Runs beside a site's owner until it is told to stop."""


class Running(msgspec.Struct):
    """A collector that runs: its parts by site, and where its pages are."""

    store: Store
    fleet: Fleet
    rules: Rules
    owners: dict[str, SiteOwner] = msgspec.field(default_factory=dict)
    sinks: dict[str, list[SinkRunner]] = msgspec.field(default_factory=dict)
    notifiers: dict[str, list[Notifier]] = msgspec.field(default_factory=dict)
    switch: Caller | None = None
    """Calls the second place that sees when we are silent."""
    turn: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    """Of the sinks that look at minutes of the log at once: one of them at a time."""
    address: str = ""


def load(config: CollectorConfig, path: str | Path = "collector.yaml") -> tuple[Fleet, tuple[str, ...], Rules]:
    """Return what the other files say: fleet, sites of this collector, rules; the contract is read for its mistakes.

    Raises FileError.
    """
    fleet, sites = load_fleet_of(config, Path(path))
    contract = load_contract(_contract(config)).contract
    if config.contract is not None:
        check_channels(Path(config.contract), contract.roster, [to.name for to in config.notifications], Path(path))
    rules = load_rules([Path(rule) for rule in config.rules], fleet)
    return fleet, sites, rules if config.speed == 1.0 else rules.scaled(config.speed)


def editions_of(config: CollectorConfig, path: str | Path = "collector.yaml") -> dict[str, InForce]:
    """Return what each site of this collector would be judged by, by its own files. Raises FileError."""
    fleet, sites, rules = load(config, path)
    receivers = _receivers(config)
    return {
        site: InForce(
            site,
            fleet.sites[site],
            rules,
            receivers,
            load_contract(_contract(config), fleet.sites[site].time_zone).contract,
        )
        for site in sites
    }


async def run(
    config: CollectorConfig,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[Running], None] = lambda running: None,
) -> None:
    """Run until ``stop`` is set; then finish what is under way, so that nothing acknowledged is lost.

    A database server that does not answer yet is waited for. ``on_ready`` is called once everything is started. Raises
    FileError for a file that is wrong, StoreError for a database that cannot be used, OSError for a port that is taken.
    """
    fleet, sites, rules = load(config)
    store = Store.open(config.database)
    if not await _migrate(store, stop):
        store.close()
        return
    running = Running(store, fleet, rules)
    notify = Notify()
    if config.dead_mans_switch is not None:
        running.switch = Caller(config.dead_mans_switch, functools.partial(_not_well, running))
    for site in sites:
        running.owners[site] = _owner(running, config, site)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(store.close)
        running.address = await _serve_pages(stack, config, running)
        tasks = [asyncio.create_task(owner.run(stop), name=f"site {site}") for site, owner in running.owners.items()]
        tasks.append(asyncio.create_task(_feed_watchdog(running, notify, stop), name="watchdog"))
        if running.switch is not None:
            tasks.append(asyncio.create_task(running.switch.run(stop), name=SWITCH))
        collect_seldom()
        on_ready(running)
        notify.say("READY=1")
        try:
            await _until_stopped(tasks, stop)
        finally:
            notify.say("STOPPING=1")


def _not_well(running: Running) -> list[str]:
    """Return what keeps us from saying that all is well: sites that nobody looks after, and those of us that hang."""
    statuses = {site: owner.status for site, owner in running.owners.items()}
    hanging = [f"site {site}: {words}" for site, words in stuck(statuses, time.monotonic()).items()]
    return [*unready(running.store.engine, statuses), *hanging]


async def _migrate(store: Store, stop: asyncio.Event) -> bool:
    """Bring the database up to date, waiting for a server that is not there yet; ``False``: told to stop before."""
    backoff = Backoff(1.0, 30.0)
    while not stop.is_set():
        try:
            await asyncio.to_thread(upgrade, store)
            return True
        except StoreAway as error:
            log.warning("%s: trying again", error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), backoff.next())
    return False


def _receivers(config: CollectorConfig) -> tuple[Receiver, ...]:
    return tuple(Receiver(to.name, to.channel, to.tells) for to in config.notifications)


def _contract(config: CollectorConfig) -> Path | None:
    return None if config.contract is None else Path(config.contract)


def _owner(running: Running, config: CollectorConfig, site: str) -> SiteOwner:
    timings, store, plan = config.timings, running.store, running.fleet.sites[site]
    waits_s = (timings.retry, 2 * timings.retry_most)
    handover = Handover()
    sinks = running.sinks[site] = [
        SinkRunner(
            store,
            site,
            sink,
            first_wait_s=waits_s[0],
            longest_wait_s=waits_s[1],
            turn=running.turn if sink.sealed else None,
        )
        for sink in sinks_of(config, store, site, plan, handover)
    ]
    receivers = _receivers(config)
    people = People(store, site, lambda: running.owners[site].contract, [one.name for one in receivers])
    notifiers = running.notifiers[site] = [
        Notifier(
            store,
            Lane(site, to.name, to.channel),
            to.open(),
            people=people,
            first_wait_s=waits_s[0],
            longest_wait_s=waits_s[1],
        )
        for to in config.notifications
    ]
    companions: list[Companion] = [*(one.run for one in sinks), *(one.run for one in notifiers)]
    wakes = [one.wake for one in notifiers]
    lanes = tuple((one.name, one.channel) for one in receivers)
    companions.append(functools.partial(_give_up_unknown, store, site, lanes))
    bounds = Bounds(config.retention.days, config.retention.max_bytes, config.history.days, config.history.max_bytes)
    companions.append(Keeper(store, site, [one.sink.name for one in sinks], bounds).run)

    told = ChangeLog(site, time.time_ns() // 1_000_000)

    def on_commit(changes: Changes) -> None:
        told.hear(changes)
        for one in sinks:
            one.wake(changes.batch)
        for wake in wakes:
            wake()

    contract = load_contract(_contract(config), plan.time_zone).contract
    in_force = InForce(site, plan, running.rules, receivers, contract)
    watched = [Watched("influxdb", "", InfluxHealth(one.progress)) for one in sinks if one.sink.name == influxdb.NAME]
    watched += [
        Watched("receiver", one.lane.receiver, ReceiverHealth(one.lane.receiver, one.progress)) for one in notifiers
    ]
    for one in sinks:
        behind = SinkHealth(store, site, one.sink.name)
        companions.append(behind.run)
        watched.append(Watched("sink", one.sink.name, behind))
    tls = config.broker.tls
    if tls is not None and tls.certificate is not None:
        ends_ms = CertificateFile(tls.certificate, lambda: time.time_ns() // 1_000_000)
        watched.append(Watched("certificate", "collector", CertificateHealth("collector", ends_ms)))
    if running.switch is not None:
        watched.append(Watched("receiver", SWITCH, ReceiverHealth(SWITCH, running.switch.progress)))
    watched.append(Watched("receiver", PEOPLE, PeopleHealth(people)))
    if store.path is not None:
        watched.append(Watched("disk", "", DiskHealth(store.path)))
    return SiteOwner(
        in_force,
        config.broker,
        store,
        timings,
        companions=companions,
        on_commit=on_commit,
        connect=_connection(config),
        quotas=config.quotas,
        watched=watched,
        handover=handover,
    )


def _connection(config: CollectorConfig) -> Callable[..., MqttConnection]:
    """Return what makes the intake's connections; paho is loaded only where it is asked for (0.7 MB)."""
    if config.mqtt_client == "paho":
        from telemetry.paho_mqtt import Connection as PahoConnection

        return PahoConnection
    return Connection


async def _give_up_unknown(
    store: Store, site: str, receivers: tuple[tuple[str, str], ...], stop: asyncio.Event
) -> None:
    """Mark what waits for a receiver that is no longer configured, once the site is owned."""
    given_up = await asyncio.to_thread(
        deliveries.give_up_unknown, store, site, receivers, time.time_ns() // 1_000_000
    )  # fmt: skip
    if given_up:
        log.error("site %s: %d deliveries wait for receivers that are no longer configured: failed", site, given_up)
    await stop.wait()


async def _serve_pages(stack: contextlib.AsyncExitStack, config: CollectorConfig, running: Running) -> str:
    """Start the web server, and the socket on which people act; return its address. Raises OSError."""
    web, path = config.web, socket_path(config)
    if web is None and path is None:
        return ""
    counts = Counts()
    receivers = {(site, one.lane.receiver): one.progress for site, all in running.notifiers.items() for one in all}
    if running.switch is not None:
        receivers |= {(site, SWITCH): running.switch.progress for site in running.owners}
    app = make_app(
        Sources(
            running.store,
            running.fleet,
            {site: owner.status for site, owner in running.owners.items()},
            {(site, one.sink.name): one.progress for site, sinks in running.sinks.items() for one in sinks},
            receivers,
            {site: owner.look_for_actions for site, owner in running.owners.items()},
            {site: [one.wake for one in notifiers] for site, notifiers in running.notifiers.items()},
            counts,
            config.quotas,
            config.missions,
            Lasting(round(1000 * (web or Web()).session_idle), round(1000 * (web or Web()).session_longest)),
        ),
        () if web is None else web.names,
    )
    limits = Limits.of_this_process((web or Web()).connections)
    tcp = None if web is None else (web.host, web.port)
    return await connections.serve(stack, app, limits, counts, tcp=tcp, path=path)


async def _until_stopped(tasks: list[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """Wait for the end of all tasks; one that raises stops the rest, and its error is raised."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        stop.set()
        await asyncio.gather(*tasks)
    finally:
        stop.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _feed_watchdog(running: Running, notify: Notify, stop: asyncio.Event) -> None:
    """Tell systemd that we live, while every site gets on. To try again and again is not to get on."""
    every_s = notify.watchdog_s / 2 if notify.watchdog_s else None
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every_s or WATCH_S)
        statuses, now_s = {site: owner.status for site, owner in running.owners.items()}, time.monotonic()
        for site, words in unwell(statuses, now_s).items():
            log.error("site %s: %s", site, words)
        if every_s is not None and not stuck(statuses, now_s):
            notify.say("WATCHDOG=1")
        notify.repeat()
        give_back()  # 0.3 ms; what comes after a look at minutes of the log spreads over the holes that it has left


def serve(config: CollectorConfig, on_ready: Callable[[Running], None] = lambda running: None) -> None:
    """Run in an event loop of its own until SIGTERM or SIGINT."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, functools.partial(_stop, stop, number))

        def ready(running: Running) -> None:
            loop.add_signal_handler(signal.SIGHUP, functools.partial(_reload, config, running))
            on_ready(running)

        await run(config, stop=stop, on_ready=ready)

    asyncio.run(main())


def _reload(config: CollectorConfig, running: Running) -> None:
    """Read our own files again and ask the sites' owners to go by them."""

    def work() -> None:
        try:
            for force in editions_of(config).values():
                for kind in differing(running.store, force):
                    put(running.store, force, kind, "SIGHUP", time.time_ns() // 1_000_000)
                    log.info("SIGHUP: site %s: %s is put in force", force.site_id, kind)
        except (FileError, StoreError) as error:
            log.error("SIGHUP: nothing is put in force: %s", error)

    threading.Thread(target=work, name="reload", daemon=True).start()


def _stop(stop: asyncio.Event, number: signal.Signals) -> None:
    log.info("%s: stopping", number.name)
    stop.set()
