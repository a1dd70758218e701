"""What happens in drawn fleets: a shift with its tickets and what people did; a fault for everybody."""

from __future__ import annotations

from typing import Final

from bench.standard_kit import PARTS, samples
from collector.core.identities import ProblemKey
from collector.core.problems import ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.events import DESK, RULE
from collector.core.vehicle.state import InventoryEntry
from collector.store.batch import Group
from collector.store.rows import BatchRow, Changes
from telemetry.fleet import VehiclePlan
from telemetry.message import Moment
from telemetry.records import Clock
from tests.browser.fleets import SITE, Broken, House, fill, kit_plan

FAULTS: Final = (
    ("sim_absent", "modem"), ("camera_down", "camera-1"), ("packet_loss", "router"), ("modem_hot", "modem"),
    ("on_battery", "ups"), ("antenna_degraded", "modem"), ("video_all_down", "encoder"), ("host_hot", "gateway"),
    ("battery_worn", "tablet"), ("stream_frozen", "camera-2"), ("disk_filling", "gateway"), ("supply_sag", "power"),
)  # fmt: skip
_MINUTE: Final = 60_000
_WHO: Final = {
    "modem": {"vendor": "Quectel", "model": "RM500Q-GL", "firmware": "RM500QGLABR11A06M4G", "imei": "864394040012345",
              "iccid": "89860000000000000012", "imsi": "460000000000012"},
    "router": {"vendor": "Teltonika", "model": "RUTX50", "firmware": "RUTX_R_00.07.06.10", "serial": "6003012345"},
    "camera-1": {"vendor": "Hikvision", "model": "DS-2CD2T47G2", "firmware": "V5.7.12", "serial": "J12345678"},
    "camera-2": {"vendor": "Hikvision", "model": "DS-2CD2T47G2", "firmware": "V5.7.12", "serial": "J12345679"},
    "encoder": {"vendor": "Hikvision", "model": "DS-6704HUHI", "firmware": "V4.30.005", "serial": "E00412"},
}  # fmt: skip


def a_shift(house: House) -> None:
    """Thirty vehicles in the middle of a shift: what ``fill`` says, and what people have done about it."""
    fill(house)
    lost, camera = "2026-0002", "2026-0003"
    house.tell(lost, (("wang", "webhook", "sent", ""), ("chen", "sms", "failed", "no credit")))
    for device in ("camera-1", "camera-2"):
        symptom = ProblemRef("amb-002", ProblemKey.of("camera_down", device))
        house.act(lost, "problem_attached", e.Attachment(symptom, "symptom", verb="blocks"), RULE)
    house.act(lost, "assigned", e.Assignment("wang"), "li", minutes=1)
    house.act(lost, "responded", e.Response("remote", "已远程重启编码器，仍无画面"), "wang", minutes=15)
    house.act(lost, "commented", e.Remark("怀疑交换机供电，请随车人员查看指示灯"), "wang", minutes=21)
    house.act(
        camera, "class_changed", e.ClassChange("disaster", "critical", "出车途中，医院在等画面"), "li", minutes=25
    )
    _mended(house)
    know(house, "amb-002")
    remember(house, "amb-002", 1)


def _mended(house: House) -> None:
    """A camera that was mended an hour ago: somebody is to call back."""
    name = list(house.fleet.sites[SITE].vehicles)[9]
    house.say(9, name, [Broken("camera_down", "camera-2", 240, acknowledged=True)], heard_ms=house.now_ms)
    ticket = f"2026-{house.tickets:04}"
    house.act(ticket, "responded", e.Response("on_site"), "wang", minutes=40)
    over = ProblemRef(name, ProblemKey.of("camera_down", "camera-2"))
    house.act(ticket, "problem_over", e.ProblemWord(over, house.now_ms - 70 * _MINUTE), RULE, minutes=120)
    house.act(ticket, "resolved", e.Resolution("更换摄像头接头", "现场看到画面"), "wang", minutes=10)
    due_ms = house.now_ms + 20 * 60 * _MINUTE
    house.act(ticket, "call_back_drawn", e.Draw("li", ("li", "chen"), "2026", due_ms), DESK)
    house.say(9, name, (), heard_ms=house.now_ms)


def quiet(house: House) -> None:
    """Nothing is wrong: some drive, some are parked, one is in the workshop."""
    for number, name in enumerate(house.fleet.sites[SITE].vehicles):
        state = {1: "on_mission", 6: "on_mission", 8: "workshop"}.get(number, "parked" if number % 5 == 4 else "")
        house.say(number, name, (), heard_ms=house.now_ms - 1000 * (number % 20), state=state)


def know(house: House, vehicle: str) -> None:
    """Let a vehicle's kit say who it is."""
    entries = [
        InventoryEntry(
            site=SITE, vehicle=vehicle, device=device, seen_ms=house.now_ms - 86_400_000, identity={**identity}
        )
        for device, identity in _WHO.items()
    ]
    house.site.commit(Changes(inventory=entries))


def remember(house: House, vehicle: str, seed: int) -> None:
    """Let a vehicle have spoken for the last hour, but for ten minutes of it."""
    moments = list(samples(seed, 360))
    first_ms = moments[0][0].mono_ms
    clock = Clock(0, first_ms, house.now_ms - 360 * 10_000, "ntp", 20)
    number, kept = 0, []
    for at, moment in enumerate(moments):
        if not 150 <= at < 210:
            entries = [[one.part.schema_id, list(one.values)] for one in moment]
            kept.append(Moment(moment[0].mono_ms, 0, entries))
            number += len(entries)
    group = Group(vehicle, "router", "00000000000000aa", "live", [(0, number - 1)], {0: clock}, kept)
    batch = BatchRow(house.site.last_batch + 1, house.now_ms, house.now_ms, number, [group])
    schemas = {(vehicle, "router", part.schema_id): part.schema for part in PARTS}
    house.site.commit(Changes(batch=batch, schemas=schemas))


def everybody_has_one(house: House, tickets: int) -> None:
    """So many open tickets, spread over all vehicles and many kinds of fault."""
    names = list(house.fleet.sites[SITE].vehicles)
    broken: dict[str, list[Broken]] = {name: [] for name in names}
    for number in range(tickets):
        name = names[number % len(names)]
        fault, device = FAULTS[(number * 7 + number // len(names)) % len(FAULTS)]
        broken[name].append(Broken(fault, device, 2 + 13 * number % 2900, acknowledged=number % 3 == 0))
    for number, (name, faults) in enumerate(broken.items()):
        house.say(number, name, faults, heard_ms=house.now_ms - 1000 * (number % 20))


def long_names(number: int) -> VehiclePlan:
    """Return a vehicle with a name of sixty characters, Chinese and English in turn."""
    chinese = (
        f"杭州市急救中心滨江分站负压型新生儿转运监护救护车第{number:03}号"
        "（备用车辆，平时停放于西侧地下车库二层东区充电桩旁边位置待命）"
    )
    english = f"Hangzhou Emergency Centre Neonatal Transfer Vehicle No. {number:03} B"
    return kit_plan((chinese if number % 2 else english)[:60], f"浙A·{12000 + number}急", f"1390571{number:04}")
