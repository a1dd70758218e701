"""The working copy of a vehicle within a step, or within those of one message.

It collects the effects. What is put into a part that was there just so changes nothing.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from collector.core.diagnosis import OUTLIVES_MS, WAITS_MS, Graph, Node, Since, Verb, causes, explains, graph_of
from collector.core.identities import (
    InventoryKey,
    OccurrenceKey,
    OperandKey,
    ProblemKey,
    RuleStateKey,
    SourceKey,
    TroubleKey,
)
from collector.core.learnt import NOTHING, Learnt
from collector.core.problems import (
    ClosedNote,
    Duty,
    Evidence,
    Forecast,
    Problem,
    ProblemChange,
    ProblemNews,
    ProblemRef,
)
from collector.core.rules.reducers import Window
from collector.core.rules.rule_state import EvidenceSample, RuleState
from collector.core.rules.shared import rules_of
from collector.core.rules.types import Rule, Rules
from collector.core.survey import Verdict, away_ms
from collector.core.vehicle import gone, late_causes, life, shown
from collector.core.vehicle.duty import duty
from collector.core.vehicle.events import Listening, Observed, Told
from collector.core.vehicle.state import (
    Agent,
    Change,
    Ended,
    Fact,
    Fork,
    InputTrouble,
    InventoryEntry,
    Known,
    Occurrence,
    Proof,
    Reading,
    ReceptionState,
    Source,
    Vehicle,
)
from collector.core.vehicle.wake import Wait, Wake
from telemetry.faults import SlaClass
from telemetry.fleet import VehiclePlan
from telemetry.topics import COLLECTOR

UNSEEN_END: Final = frozenset({"firmware_changed", "power_lost"})
"""Faults whose end no reading shows: a person's acknowledgement ends them (docs/architecture.md, Judging)."""
MOST_PROBLEMS: Final = 50
"""Of one fault at a time, where nobody says otherwise."""
EXPLAINED_MS: Final = 600_000
"""What is over waits for records that may tell otherwise, so long after the first word and the hole."""
_SILENT: Final = "vehicle_silent"
MOST_SPANS: Final = 16
_MOST_EVIDENCE: Final = 3
"""Of a problem: what opened it, and the last words; what came between is in the log."""

PARTS: Final = (
    *("agents", "changes", "clear_until", "rule_states", "ended", "facts", "inventory", "occurrences"),
    *("problems", "proofs", "readings", "reception", "skipped", "sources", "troubles", "windows"),
)
"""The parts of a vehicle that are mappings."""
_PLAIN: Final = ("given", "given_before", "missions", "missions_over", "position", "expectation", "arrived", "fork")
"""The other ones that change."""
_NAMES: Final = (*PARTS, *_PLAIN)
_parts: Final = operator.attrgetter(*_NAMES)

Effect = ProblemChange | ClosedNote | InventoryEntry
"""What ``step`` wants told and kept."""


class Draft:
    """A vehicle while it is stepped: copies of its parts, to be changed at will. ``before`` is what they were."""

    __slots__ = (
        *(
            "_duty",
            "_graph",
            "_signs",
            "arrived",
            "at_ms",
            "before",
            "effects",
            "expectation",
            "fixed_ms",
            "fork",
            "given",
            "given_before",
            "learnt",
            "unplaced",
            "listening",
            "missions",
            "missions_over",
            "most_problems",
            "now_ms",
            "plan",
            "position",
            "rules",
            "taken",
            "verdict",
            "waits",
            "wake_ms",
        ),
        *PARTS,
    )

    def __init__(
        self,
        vehicle: Vehicle,
        plan: VehiclePlan,
        listening: Listening,
        verdict: Verdict,
        rules: Rules,
        now_ms: int,
        *,
        most_problems: int = MOST_PROBLEMS,
        learnt: Learnt = NOTHING,
    ) -> None:
        self.before = vehicle
        self.plan = plan
        self.listening = listening
        self.verdict = verdict
        self.rules = rules
        self.now_ms = self.at_ms = now_ms
        """``at_ms`` is the moment that is judged: a sample's own, else ours."""
        self.most_problems = most_problems
        self.learnt = learnt
        self.effects: list[Effect] = []
        self.taken: list[tuple[int, Sequence[Told]]] = []
        """What was stepped so far, message by message, each with our clock."""
        self.given = vehicle.given
        self.given_before = vehicle.given_before
        self.missions = vehicle.missions
        self.missions_over = vehicle.missions_over
        self.position = vehicle.position
        self.expectation = vehicle.expectation
        self.arrived: Mapping[SourceKey, int] = vehicle.arrived
        self.fork: Fork | None = vehicle.fork
        self.agents: dict[str, Agent] = {**vehicle.agents}
        self.sources: dict[SourceKey, Source] = {**vehicle.sources}
        self.rule_states: dict[RuleStateKey, RuleState] = {**vehicle.rule_states}
        self.problems: dict[ProblemKey, Problem] = {**vehicle.problems}
        self.windows: dict[OperandKey, Window] = {**vehicle.windows}
        self.readings: dict[OperandKey, Reading] = {**vehicle.readings}
        self.clear_until: dict[SourceKey, int] = {**vehicle.clear_until}
        self.ended: dict[ProblemKey, Ended] = {**vehicle.ended}
        self.facts: dict[str, Fact] = {**vehicle.facts}
        self.proofs: dict[SourceKey, Proof] = {**vehicle.proofs}
        self.reception: dict[ProblemKey, ReceptionState] = {**vehicle.reception}
        self.unplaced: list[Observed] = []
        """Samples of modems whose place the next fix may tell."""
        self.troubles: dict[TroubleKey, InputTrouble] = {**vehicle.troubles}
        self.occurrences: dict[OccurrenceKey, Occurrence] = {**vehicle.occurrences}
        self.inventory: dict[InventoryKey, Known] = {**vehicle.inventory}
        self.changes: dict[InventoryKey, Change] = {**vehicle.changes}
        self.skipped: dict[str, int] = {**vehicle.skipped}
        self.wake_ms: int | None = None
        """When time alone may change something (our clock): noted by whoever looks at what is not due yet."""
        self.fixed_ms: int | None = None
        """The same of what no word puts off."""
        self.waits: list[Wait] = []
        """The silences that are waited for."""
        self._duty: Duty | None = None
        self._signs: dict[Node, int] | None = None
        self._graph: Graph | None = None

    def begin(self, at_ms: int | None = None) -> None:
        """Begin the step of the next record, at its own time: what the one before it has changed counts."""
        self._duty = None
        self._signs = None
        self.at_ms = self.at_ms if at_ms is None else at_ms

    @property
    def has_hole(self) -> bool:
        """Whether records are missing: what live sees meanwhile is provisional, and silence proves nothing."""
        return self.fork is not None and self.fork.found

    @property
    def may_be_told_otherwise(self) -> bool:
        """Whether an end waits: what is missing, since an agent came back or the hole was found just now, may say that
        it came earlier, or not at all.
        """
        if self.fork is None or not self.fork.found:
            return False
        back_ms = (agent.from_ms for agent in self.agents.values() if agent.from_ms is not None)
        return self.now_ms - max([self.fork.since_ms, *back_ms]) < EXPLAINED_MS / self.rules.speed

    def finish(self, *, diagnose: bool = True) -> tuple[Vehicle, list[Effect]]:
        """Return the vehicle afterwards (the very same one if nothing changed) and the effects.

        What explains what is looked for here, once: a message of 10,000 records must not compare all problems with
        each other 10,000 times.
        """
        if diagnose and (self.problems or self.rule_states):
            gone.judge(self)
        if diagnose and self.effects:
            late_causes.explain(self)
        if diagnose and self.problems:
            self.diagnose(self.before.problems)
            self._go_on()
        before = self.before
        changed = {
            name: part
            for name, part, was in zip(_NAMES, _parts(self), _parts(before), strict=True)
            if part is not was and part != was
        }
        return msgspec.structs.replace(before, **changed) if changed else before, self.effects

    def wake_at(self, time_ms: int, *, fixed: bool = True) -> None:
        """Ask to be looked at then, or earlier if somebody asked for that. Not ``fixed``: a word puts it off."""
        if time_ms <= self.now_ms:
            return
        if self.wake_ms is None or time_ms < self.wake_ms:
            self.wake_ms = time_ms
        if fixed and (self.fixed_ms is None or time_ms < self.fixed_ms):
            self.fixed_ms = time_ms

    @property
    def wake(self) -> Wake | None:
        """When it is to be looked at next."""
        return None if self.wake_ms is None else Wake(self.wake_ms, self.fixed_ms, tuple(self.waits))

    def skip(self, reason: str) -> None:
        """Count a sample that is not judged."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def duty(self) -> Duty:
        """Return what the vehicle is doing; worked out when it is first asked for."""
        if self._duty is None:
            # at 0 a fork is stepped through what has no time of its own: that goes by the last word
            given = next((given for until_ms, given in self.given_before if 0 < self.at_ms < until_ms), self.given)
            self._duty = duty(self, given or self.plan.state, self.plan, self.rules.settings.fact_ms)
        return self._duty

    def away_ms(self, name: str) -> int:
        """Return for how long an agent may say nothing without having been away: it says no more than it polls."""
        return away_ms(self.rules, self.before.vehicle, self.agents, self.plan, name)

    def exceed(self, quota: str, text: str) -> None:
        """Note that what speaks for the vehicle wanted more than ``quota`` lets it."""
        key = OccurrenceKey("quota", COLLECTOR, quota)
        known = self.occurrences.get(key)
        self.occurrences[key] = Occurrence(self.now_ms if known is None else known.first_ms, self.now_ms, text)
        for problem in self.problems.values() if known is None else ():
            if problem.key.device == COLLECTOR:
                self.tell(problem, "noted", text)

    # --- what explains a fault ----------------------------------------------------------------------------------------

    @property
    def graph(self) -> Graph:
        """What needs what in this vehicle."""
        if self._graph is None:
            self._graph = graph_of(self.rules.memory, self.rules.topology, self.before.vehicle, self.plan)
        return self._graph

    def is_hidden(self, key: ProblemKey, states: Iterable[RuleState], *, agent: str = "") -> bool:
        """Say whether a problem must not begin now: what would explain it is about to begin, or is the site's.

        One of ``states`` that says of a device that it is not reached hides what needs that, long before it has lasted
        for its time, but not when nobody tells of it any more. ``agent`` is who tells of it.
        """
        graph = self.graph
        alive = self.lives
        if any(graph.verb(cause, key, alive, 0) for cause in self.verdict.problems):
            return True
        for state in states:
            told = self.at_ms - state.last_ms <= OUTLIVES_MS
            hides = told and not state.inhibited and graph.at_device(state.problem.fault)
            about = hides and state.problem not in self.problems
            if about and graph.verb(state.problem, key, alive, state.since_ms) == "blocks":
                return True
        if gone.hides(self, key):
            return True
        return any(graph.blinds(one, key, agent) for one in self.problems)

    def cause_of(self, key: ProblemKey, event_ms: int) -> ProblemKey | None:
        """Return the active problem that explains one of this key, or nothing."""
        symptom = Since(key, event_ms)
        for problem in self.problems.values():
            if explains(self.graph, _since(problem), symptom, self.lives):
                return problem.key
        return None

    def cause_ended_ms(self, key: ProblemKey) -> tuple[int, int]:
        """Return when what may have explained a problem of this key last ended: our clock, the kit's; 0 for never."""
        ours, kits = self.verdict.cleared_ms or 0, 0
        for cause, ended in self.ended.items():
            if self.graph.verb(cause, key, _nothing_works, 0):
                ours, kits = max(ours, ended.over_ms), max(kits, ended.spans[-1][1])
        return ours, kits

    def sign_ms(self, node: Node) -> int:
        """Return the event time of the last sign that a node, or anything behind it, lives; 0: there is none now."""
        if self._signs is None:
            self._signs = life.signs_of(self.sources, self.proofs, self.graph)
        return self._signs.get(node, 0)

    def lives(self, node: Node, since_ms: int) -> bool:
        """Say whether something has shown since then, and still does, that a node or anything behind it lives.

        What was polled in the same moment counts: polls are aligned.
        """
        sign_ms = self.sign_ms(node)
        return sign_ms > 0 and sign_ms >= since_ms

    def works(self, device: str, time_ms: int) -> bool:
        """Say whether something shows at this time that a device does its work, reached or not.

        A stream that plays, a target that answers, a device behind it that answers.
        """
        time_ms = min(time_ms, life.latest_ms(self.sources))
        if any(time_ms <= proof.until_ms and device in proof.devices for proof in self.proofs.values()):
            return True
        lost = life.lost_ways(self.sources, self.graph)
        return any(
            ("device", device) in life.shown_by(key.device, self.graph, lost)
            for key, _ in life.answers(self.sources)
            if key.device != device and key.input not in life.LOCAL
        )

    def works_until(self, device: str) -> int:
        """Return until when a device counts as working if nothing more is heard of that; 0 if it does not."""
        times = [proof.until_ms for proof in self.proofs.values() if device in proof.devices]
        lost, node = life.lost_ways(self.sources, self.graph), ("device", device)
        for key, source in life.answers(self.sources):
            if key.input not in life.LOCAL and (
                device == key.device or node in life.shown_by(key.device, self.graph, lost)
            ):
                times.append(life.counts_until(source, source.alive_ms))
        return max(times, default=0)

    def denial(self, rule: Rule, key: ProblemKey, agent: str, time_ms: int) -> str:
        """Return what speaks against a problem that an agent tells of; empty: nothing does.

        The rule is about working devices and this one does not, or the other way round; or it is about one that is
        gone, and another agent reads it.
        """
        if rule.working is not None and rule.working != self.works(key.device, time_ms):
            return "it does no work any more" if rule.working else "it does its work all the same"
        if self.graph.at_device(key.fault):
            for source, _ in life.answers(self.sources):
                if source.device == key.device and source.agent != agent and source.input not in life.WORK:
                    return f"agent {source.agent} reads it"
        return ""

    def step_ms(self, device: str) -> int:
        """Return the time between two polls of a device, by any of its inputs."""
        return max((source.step_ms for key, source in self.sources.items() if key.device == device), default=0)

    def diagnose(self, before: Mapping[ProblemKey, Problem]) -> None:
        """Give each problem its cause, all anew; a symptom keeps its cause until it has outlived that.

        ``before`` are the problems of the last time.
        """
        problems = self.problems
        waiting = any(problem.cause is not None and problem.cause.key not in problems for problem in problems.values())
        if problems == before and not waiting:
            return
        self._signs = None
        for key, cause in causes(self.graph, [_since(one) for one in problems.values()], self.lives).items():
            problem = problems[key]
            was = None if problem.cause is None else problem.cause.key
            if cause == was:
                continue
            if cause is not None:
                text = f"explained by {cause.text()}"
            elif was is not None and self._outlived(problem, was):
                text = f"it has outlived {was.text()}"
            else:
                continue
            ref = None if cause is None else ProblemRef(self.before.vehicle, cause)
            problems[key] = msgspec.structs.replace(problem, cause=ref, verb=self._verb(cause, key))
            self.tell(problems[key], "caused", text)

    def _verb(self, cause: ProblemKey | None, key: ProblemKey) -> Verb | Literal[""]:
        return ("" if cause is None else self.graph.verb(cause, key, _nothing_works, 0)) or ""

    def _outlived(self, problem: Problem, cause: ProblemKey) -> bool:
        """Say whether a symptom is no symptom: it is still there so long after its cause has ended.

        A cause that is refuted by a sign of life explains what was bad before that sign.
        """
        ended = self.ended.get(cause)
        held = [one for one in self.rule_states.values() if one.problem == problem.key and one.phase != "pending"]
        bad_ms = [one.last_ms for one in held if one.phase == "firing"] if held else [self._silent_until_ms(problem)]
        if cause in self.problems:
            return not self._is_clearing(cause) and max(bad_ms, default=0) >= self._answered_ms(cause)
        if ended is None:
            return True
        steps = [self.sources[one.source].step_ms for one in held if one.source in self.sources]
        rule = self.rules.by_id.get(problem.rule)
        grace_ms = max(OUTLIVES_MS / self.rules.speed, 3 * max(steps, default=0), 0 if rule is None else rule.for_ms)
        ended_ms = ended.spans[-1][1]
        if not held:
            self.wake_at(round(ended_ms + grace_ms))  # no sample tells of it
        known_ms = [self.sources[one.source].from_ms for one in held if one.source in self.sources]
        return max(bad_ms, default=0) - max(ended_ms, min(known_ms, default=0)) >= grace_ms

    def _silent_until_ms(self, problem: Problem) -> int:
        """Return until when what no sample tells of is there: now, or where a silence waits for its records only, until
        its first word.
        """
        speaks = any(
            agent.heard_ms is not None and self.now_ms - agent.heard_ms <= self.away_ms(name)
            for name, agent in self.agents.items()
        )
        first_ms = late_causes.first_word(self, problem) if speaks else None
        return self.now_ms if first_ms is None else first_ms

    def _answered_ms(self, cause: ProblemKey) -> int:
        """Return when something answered last that shows a cause to be none; 0: nothing that answers does."""
        node = self.graph.node(cause)
        return 0 if node is None else life.signs_of(self.sources, {}, self.graph).get(node, 0)

    def _is_clearing(self, key: ProblemKey) -> bool:
        """Say whether a problem is about to be over: its signs of life are its end, and refute nothing."""
        phases = [state.phase for state in self.rule_states.values() if state.problem == key]
        return "clearing" in phases and "firing" not in phases

    def _waits_until(self, key: ProblemKey, event_ms: int) -> int | None:
        """Return until when a problem waits for signs of life of what it needs, ``None``: it need not."""
        until_ms, node = event_ms + round(WAITS_MS / self.rules.speed), self.graph.node(key)
        if node is None or until_ms <= self.now_ms:
            return None
        read = {source.device for source in self.sources} - {key.device}
        upstream = [one for one in self.graph.needs(node) if one[0] == "device" and one[1] in read]
        if all(self.lives(one, event_ms) for one in upstream):
            return None
        self.wake_at(until_ms)
        return until_ms

    def _go_on(self) -> None:
        """Tell of the problems that have waited long enough."""
        for key, problem in list(self.problems.items()):
            if problem.waits_until_ms is None:
                continue
            if problem.cause is None and self._waits_until(key, problem.event_ms) is not None:
                continue
            self.problems[key] = after = msgspec.structs.replace(problem, waits_until_ms=None)
            if problem.cause is None:
                self.tell(after, "waited", "nothing that it needs explains it")

    def is_held(self, key: ProblemKey) -> bool:
        """Say whether a rule on samples holds the problem of a key."""
        return any(state.problem == key and state.phase != "pending" for state in self.rule_states.values())

    # --- problems -----------------------------------------------------------------------------------------------------

    def open(
        self,
        rule: Rule,
        key: ProblemKey,
        event_ms: int,
        evidence: tuple[EvidenceSample, ...] = (),
        text: str = "",
        *,
        deferred: bool = False,
        sla_class: SlaClass | None = None,
        forecast: Forecast | None = None,
    ) -> None:
        """Let a problem begin unless it is active already.

        ``deferred``: its class is that of a parked vehicle's. ``sla_class``: its class where the rule says none.

        One that would be too many of its fault does not: who has fifty tickets of one vehicle looks after that anyway.
        """
        if key in self.problems:
            return
        if sum(other.fault == key.fault for other in self.problems) >= self.most_problems:
            self.exceed("problems", f"over quota: problems ({self.most_problems} of one fault)")
            return
        ended = self.ended.get(key)
        cause = self.cause_of(key, event_ms)
        problem = Problem(
            site=self.before.site,
            vehicle=self.before.vehicle,
            key=key,
            rule=rule.id,
            rule_version=rule.version,
            state="active",
            event_ms=min(event_ms, self.now_ms),
            detected_ms=self.now_ms,
            times=1 if ended is None else ended.times + 1,
            cause=None if cause is None else ProblemRef(self.before.vehicle, cause),
            verb=self._verb(cause, key),
            waits_until_ms=None if cause is not None else self._waits_until(key, min(event_ms, self.now_ms)),
            duty="parked" if deferred else self.duty(),
            sla_class=rule.sla_class or sla_class,
            severity=rule.severity,
            sees_end=rule.fault.id not in UNSEEN_END,
            evidence=(self._evidence(rule, evidence, text, () if cause is not None else shown.kit(self), forecast),),
        )
        self.problems[key] = problem
        self.tell(problem, "began" if problem.times == 1 else "again", text or _words(evidence))

    def raise_by_duty(self) -> None:
        """Let what began while less was expected of the vehicle weigh what it does now; duty never lowers anything.

        A vehicle that was silent is there again when its duty is known.
        """
        duty = self.duty()
        if duty not in ("on_duty", "on_mission"):
            return
        for key, problem in self.problems.items():
            if problem.duty in ("parked", "workshop") and key.fault != _SILENT:
                self.problems[key] = raised = msgspec.structs.replace(problem, duty=duty)
                self.tell(raised, "raised", f"now {duty}")

    def raise_class(self, key: ProblemKey, sla_class: SlaClass, text: str) -> None:
        """Let an active problem weigh more from now on."""
        problem = self.problems[key]
        if problem.sla_class != sla_class:
            raised = msgspec.structs.replace(problem, sla_class=sla_class, duty=self.duty())
            self.problems[key] = raised
            self.tell(raised, "raised", text)

    def close(
        self, rule: Rule, key: ProblemKey, event_ms: int, evidence: tuple[EvidenceSample, ...] = (), text: str = ""
    ) -> None:
        """Let the problem of a key be over, with the evidence for it."""
        self.end(key, event_ms, self._evidence(rule, evidence, text), text or _words(evidence))

    def end(self, key: ProblemKey, event_ms: int, evidence: Evidence, text: str) -> None:
        """Let the problem of a key be over, if there is one."""
        problem = self.problems.get(key)
        if problem is None:
            return
        end_ms = max(problem.event_ms, min(event_ms, self.now_ms))
        over = msgspec.structs.replace(
            problem,
            state="over",
            over_event_ms=end_ms,
            over_ms=self.now_ms,
            evidence=_more(problem.evidence, evidence),
        )
        self.problems.pop(key, None)
        self._remember(key, problem.event_ms, end_ms, problem.times)
        self._cut_windows(key, end_ms)
        self.tell(over, "over", text)

    def adopt(self, problem: Problem, rule: Rule) -> None:
        """Let an active problem go on under a new version of its rule, or under another rule that holds it."""
        adopted = msgspec.structs.replace(problem, rule=rule.id, rule_version=rule.version)
        self.problems[problem.key] = adopted
        self.tell(adopted, "adopted", f"rule {rule.id} is now version {rule.version}")

    def orphan(self, problem: Problem, text: str) -> None:
        """Let go of a problem that nothing judges any more: a person decides, its key is free."""
        self.problems.pop(problem.key, None)
        self._remember(problem.key, problem.event_ms, self.now_ms, problem.times)
        self.tell(msgspec.structs.replace(problem, state="orphaned"), "orphaned", text)

    def tell(self, problem: Problem, news: ProblemNews, text: str) -> None:
        """Tell the desk of a problem."""
        self.effects.append(ProblemChange(problem, news, text))

    def note(self, rule: Rule, key: ProblemKey, began_ms: int, ended_ms: int) -> None:
        """Note a fault that is over, unless a problem or a note of its key has told of that time already."""
        problem = self.problems.get(key)
        if problem is not None and problem.event_ms < ended_ms:
            return
        ended = self.ended.get(key)
        if ended is not None and any(begin < ended_ms and began_ms < end for begin, end in ended.spans):
            return
        self._remember(key, began_ms, ended_ms, 0 if ended is None else ended.times)
        self.effects.append(
            ClosedNote(
                site=self.before.site,
                vehicle=self.before.vehicle,
                device=key.device,
                key=key.text(),
                fault=rule.fault.id,
                rule=rule.id,
                rule_version=rule.version,
                began_ms=began_ms,
                ended_ms=ended_ms,
                noted_ms=self.now_ms,
            )
        )

    def _remember(self, key: ProblemKey, began_ms: int, ended_ms: int, times: int) -> None:
        known = self.ended.get(key)
        spans = () if known is None else known.spans
        self.ended[key] = Ended(times, (*spans, (began_ms, ended_ms))[-MOST_SPANS:], self.now_ms)

    def _cut_windows(self, cause: ProblemKey, ended_ms: int) -> None:
        """Let what a cause explained be forgotten with it: a window says nothing of what its cause has spoilt."""
        for key, window in list(self.windows.items()):
            symptoms = [ProblemKey(rule.fault.id, key.source.device) for rule in rules_of(self.rules, key)]
            if symptoms and all(self.graph.verb(cause, one, _nothing_works, 0) for one in symptoms):
                self.windows[key] = Window(window.version, from_ms=ended_ms)

    @staticmethod
    def _evidence(
        rule: Rule,
        samples: tuple[EvidenceSample, ...],
        text: str,
        kit: tuple[dict[str, Any], ...] = (),
        forecast: Forecast | None = None,
    ) -> Evidence:
        return Evidence(rule.id, rule.version, tuple(sample.plain() for sample in samples), text, kit, forecast)


def _since(problem: Problem) -> Since:
    return Since(problem.key, problem.event_ms, problem.sees_end)


def _nothing_works(node: Node, since_ms: int) -> bool:
    return False


def _more(evidence: tuple[Evidence, ...], last: Evidence) -> tuple[Evidence, ...]:
    """Return the evidence with another piece: the first one stays, of the others the last ones."""
    return (*evidence[:1], *(*evidence[1:], last)[1 - _MOST_EVIDENCE :])


def _words(samples: tuple[EvidenceSample, ...]) -> str:
    """Return the values in words, the last ones first."""
    return ", ".join(
        dict.fromkeys(
            f"{sample.metric}{{{','.join(sample.labels.values())}}} {sample.value}"
            if sample.labels
            else f"{sample.metric} {sample.value}"
            for sample in reversed(samples)
        )
    )
