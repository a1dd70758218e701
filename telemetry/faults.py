"""The fault catalogue: the single list of fault names that rules, tickets, drills, notices and reports use.

The classes of the contract stand here too, because a fault names its default class. Ids never change once
released; the list only grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from telemetry.metrics import nearest

SlaClass = Literal["disaster", "general", "change", "consultation", "hardware", "deferrable"]
"""Classes of the contract: R4 to R9 of docs/contract.md, in this order."""
SLA_CLASSES: Final[tuple[SlaClass, ...]] = get_args(SlaClass)
SLA_NAMES: Final[Mapping[SlaClass, tuple[str, str]]] = {
    "disaster": ("灾难性故障", "disaster"),
    "general": ("一般性故障", "general fault"),
    "change": ("需求变更", "change request"),
    "consultation": ("咨询", "consultation"),
    "hardware": ("硬件故障", "hardware fault"),
    "deferrable": ("可延后处理", "deferrable"),
}
"""(Chinese, English) name of each class."""

Severity = Literal["critical", "major", "minor"]


def severity(sla_class: SlaClass) -> Severity:
    """Return how grave a fault of a class is: what stops the business is critical, what hampers it major."""
    if sla_class == "disaster":
        return "critical"
    return "major" if sla_class in ("general", "hardware") else "minor"


class Fault(msgspec.Struct, frozen=True):
    """One row of the catalogue.

    ``roots`` are the kinds of device that its ticket names (``any``: every kind). ``always``: the class holds for a
    vehicle that is parked or in the workshop too. ``first_zh`` and ``first_en`` are the first thing to do, empty where
    the catalogue names none.
    """

    id: str
    zh: str
    en: str
    roots: tuple[str, ...]
    sla_class: SlaClass
    always: bool
    first_zh: str
    first_en: str

    @property
    def severity(self) -> Severity:
        """Severity of the default class."""
        return severity(self.sla_class)


def _f(
    id: str,
    zh: str,
    en: str,
    roots: str,
    sla_class: SlaClass,
    first_zh: str = "",
    first_en: str = "",
    *,
    always: bool = False,
) -> Fault:
    return Fault(id, zh, en, tuple(roots.split()), sla_class, always, first_zh, first_en)


_ALL: Final = (
    # Radio and link
    _f(
        "antenna_degraded",
        "天线信号劣化",
        "Antenna signal degraded",
        "router modem",
        "general",
        "检查天线馈线和接头",
        "check antenna cable and connector",
    ),
    _f("sim_absent", "SIM卡未检测到", "SIM card not detected", "modem", "disaster", "重新插拔SIM卡", "reseat SIM"),
    _f(
        "sim_locked",
        "SIM卡锁定",
        "SIM card locked",
        "modem",
        "disaster",
        "用运营商提供的解锁码解锁",
        "unlock with the carrier's code",
    ),
    _f(
        "registration_denied",
        "网络拒绝注册",
        "Network refuses registration",
        "modem",
        "disaster",
        "向运营商核实号卡状态",
        "ask the carrier about the subscription",
    ),
    _f("roaming", "漫游", "Roaming", "modem", "deferrable", "检查选网设置", "check operator selection"),
    _f(
        "nr_fallback",
        "5G回落4G",
        "Fallen back from 5G to 4G",
        "modem",
        "general",
        "检查5G开关和套餐",
        "check 5G setting and subscription",
    ),
    _f("modem_hot", "模组过热", "Modem overheated", "modem", "general", "检查通风散热", "check ventilation"),
    _f(
        "modem_hung",
        "模组无响应",
        "Modem does not respond",
        "modem",
        "disaster",
        "重启模组（需同意）",
        "restart modem (with consent)",
    ),
    _f(
        "wan_no_data",
        "已注册但不通",
        "Registered but no data passes",
        "router",
        "disaster",
        "检查APN、流量套餐和防火墙",
        "check APN, data plan, firewall",
    ),
    _f(
        "high_delay",
        "时延过高",
        "Delay too high",
        "router",
        "general",
        "与同地点其他车辆比对，再查天线和套餐",
        "compare with other vehicles there, then antenna and plan",
    ),
    _f(
        "packet_loss",
        "丢包",
        "Packet loss",
        "router",
        "general",
        "与同地点其他车辆比对，再查天线和套餐",
        "compare with other vehicles there, then antenna and plan",
    ),
    _f(
        "data_volume_near_cap",
        "流量将达上限",
        "Data volume near the plan's cap",
        "modem",
        "deferrable",
        "加购流量或改为节流发送",
        "order volume or send thrifty",
    ),
    # Router
    _f("router_dead", "路由器离线", "Router offline", "router", "disaster", "检查供电和保险丝", "check power and fuse"),
    _f(
        "router_reboot_loop",
        "路由器反复重启",
        "Router restarts again and again",
        "router",
        "general",
        "检查供电电压",
        "check supply voltage",
    ),
    _f(
        "management_unreachable",
        "设备管理口不通",
        "Device management unreachable",
        "any",
        "deferrable",
        "检查账号口令和固件版本",
        "check credentials and firmware",
    ),
    # Audio and video
    _f("camera_down", "摄像头离线", "Camera offline", "camera", "general", "检查摄像头供电", "check camera power"),
    _f(
        "stream_frozen",
        "画面冻结",
        "Picture frozen",
        "camera encoder",
        "general",
        "重启视频流（需同意）",
        "restart stream (with consent)",
    ),
    _f("stream_lossy", "视频丢包", "Video loses packets", "encoder", "general", "检查网线连接", "check cabling"),
    _f(
        "encoder_no_video",
        "编码器无视频输入",
        "Encoder has no video input",
        "encoder",
        "general",
        "检查摄像头线缆",
        "check camera cable",
    ),
    _f("encoder_down", "编码器离线", "Encoder offline", "encoder", "general", "检查供电", "check power"),
    _f(
        "video_all_down",
        "全部视频中断",
        "All video lost",
        "switch power",
        "disaster",
        "检查交换机供电",
        "check switch power",
    ),
    # Position
    _f("gnss_antenna", "定位天线故障", "GNSS antenna fault", "gnss", "general", "检查定位天线", "check GNSS antenna"),
    _f(
        "gnss_jumping",
        "定位跳变",
        "Position jumps",
        "gnss",
        "deferrable",
        "检查天线位置和馈线",
        "check antenna's place and cable",
    ),
    # Power
    _f(
        "supply_sag",
        "供电电压低",
        "Supply voltage low",
        "power",
        "general",
        "检查蓄电池和线路",
        "check battery and wiring",
    ),
    _f(
        "alternator_weak",
        "发电机充电不足",
        "Alternator charges too little",
        "power",
        "general",
        "测量充电电压",
        "measure charging voltage",
    ),
    _f(
        "ups_battery_worn",
        "UPS电池老化",
        "UPS battery worn",
        "ups",
        "hardware",
        "更换电池",
        "replace battery",
        always=True,
    ),
    _f("on_battery", "UPS电池供电", "UPS runs on battery", "ups", "general", "检查UPS的供电", "check the UPS's feed"),
    _f(
        "power_lost",
        "意外断电",
        "Power lost unexpectedly",
        "power",
        "general",
        "检查主保险丝和接头",
        "check main fuse and connector",
    ),
    # Tablet and agent
    _f(
        "disk_filling",
        "磁盘将满",
        "Disk filling up",
        "host",
        "deferrable",
        "清理空间，查看何者增长",
        "free space, look what grows",
        always=True,
    ),
    _f(
        "battery_worn",
        "平板电池老化",
        "Tablet battery worn",
        "host",
        "hardware",
        "更换电池",
        "replace battery",
        always=True,
    ),
    _f("host_hot", "平板过热", "Tablet overheated", "host", "general", "遮阳、通风", "shade, ventilation"),
    _f(
        "cpu_runaway", "CPU持续过高", "CPU load stays high", "host", "deferrable", "查看是哪个进程", "see which process"
    ),
    _f(
        "foreign_network",
        "连到其他车辆网络",
        "Connected to another vehicle's network",
        "host",
        "general",
        "重新连接本车网络",
        "reconnect to own vehicle",
    ),
    _f(
        "agent_down",
        "采集程序停止",
        "Agent stopped",
        "agent",
        "deferrable",
        "查看采集程序的服务",
        "look at the agent's service",
    ),
    _f(
        "clock_unset",
        "时钟未同步",
        "Clock not synchronised",
        "host",
        "deferrable",
        "NTP和GNSS能否到达？",
        "NTP and GNSS reachable?",
    ),
    _f(
        "outbox_overrun",
        "缓存溢出",
        "Outbox overrun",
        "agent",
        "deferrable",
        "失联多久？扩大缓存",
        "how long without contact? enlarge the outbox",
    ),
    _f(
        "outbox_volatile",
        "缓存未落盘",
        "Outbox not on disk",
        "agent",
        "general",
        "检查磁盘和状态目录",
        "check disk and state directory",
        always=True,
    ),
    _f(
        "login_refused",
        "设备拒绝登录",
        "Device refuses our login",
        "any",
        "deferrable",
        "检查账号和密码",
        "check account and password",
        always=True,
    ),
    _f(
        "identity_clash",
        "设备身份重复",
        "Identity used twice",
        "agent",
        "general",
        "找出复制的一台，重新登记",
        "find the copy, enrol it anew",
        always=True,
    ),
    # Vehicle
    _f("vehicle_silent", "车辆失联", "Vehicle silent", "vehicle", "general", "致电随车人员", "call the crew"),
    # Firmware and certificates
    _f(
        "firmware_changed",
        "固件版本变化",
        "Firmware version changed",
        "any",
        "deferrable",
        "是否计划内？是则受理",
        "planned? then acknowledge",
        always=True,
    ),
    _f(
        "firmware_blocked",
        "固件禁用版本",
        "Firmware version blocked",
        "any",
        "deferrable",
        "升级到推荐版本",
        "update to the recommended",
        always=True,
    ),
    _f(
        "certificate_expiring",
        "证书将到期",
        "Certificate about to expire",
        "any",
        "deferrable",
        "更新证书",
        "renew",
        always=True,
    ),
    _f(
        "profile_unknown",
        "未识别设备",
        "Device not recognised",
        "any",
        "deferrable",
        "kitwatch profiles match，编写或选用档案",
        "`kitwatch profiles match`, write or choose a profile",
        always=True,
    ),
    # Centre
    _f(
        "site_unreachable",
        "站点通信中断",
        "Site communication lost",
        "site",
        "disaster",
        "联系站点网络，查看消息服务所在主机",
        "call the site's network, look at the broker's host",
        always=True,
    ),
    _f(
        "broker_down",
        "消息服务中断",
        "Message broker down",
        "site",
        "disaster",
        "检查消息服务是否运行",
        "is the broker's service up?",
        always=True,
    ),
    _f(
        "platform_module_down",
        "平台模块不可用",
        "Platform module unavailable",
        "module",
        "disaster",
        "致电平台供应商",
        "call the platform's supplier",
        always=True,
    ),
    _f(
        "platform_module_slow",
        "平台模块变慢",
        "Platform module slow",
        "module",
        "general",
        "致电平台供应商",
        "call the platform's supplier",
        always=True,
    ),
    _f(
        "centre_clock_wrong",
        "中心时钟错误",
        "Centre's clock wrong",
        "site",
        "general",
        "检查中心的NTP",
        "check the centre's NTP",
        always=True,
    ),
    _f(
        "centre_disk_filling",
        "中心磁盘将满",
        "The centre's disk is filling up",
        "collector",
        "general",
        "清理空间，查看何者增长",
        "free space, look what grows",
        always=True,
    ),
    _f(
        "influx_refuses",
        "时序库拒绝写入",
        "Time series database refuses what is written",
        "collector",
        "general",
        "查看时序库返回的原话",
        "read the server's words",
        always=True,
    ),
    _f(
        "quarantine_growing",
        "隔离数据增多",
        "Quarantine growing",
        "collector",
        "deferrable",
        "查看 kitwatch deadletters",
        "look at `kitwatch deadletters`",
        always=True,
    ),
    _f(
        "sink_behind",
        "数据写出滞后",
        "Writing of data is behind",
        "collector",
        "deferrable",
        "查看时序库和磁盘的速度",
        "look how fast time series database and disk are",
        always=True,
    ),
    _f(
        "broker_drops",
        "消息服务丢弃消息",
        "Message broker drops messages",
        "collector",
        "deferrable",
        "查看 max_queued_messages 和 collector 是否跟得上",
        "max_queued_messages? does the collector keep up?",
        always=True,
    ),
    _f(
        "influx_unreachable",
        "时序库不可用",
        "Time series database unreachable",
        "collector",
        "deferrable",
        "检查服务、网络和令牌",
        "service, network, token",
        always=True,
    ),
    _f(
        "calendar_missing",
        "工作日历缺失",
        "Working calendar missing",
        "collector",
        "deferrable",
        "导入工作日历",
        "load the calendar",
        always=True,
    ),
    _f(
        "notice_undelivered",
        "通知未送达",
        "Notice not delivered",
        "collector",
        "general",
        "改用电话通知，检查通知渠道",
        "call by telephone, check the channel",
        always=True,
    ),
)

FAULTS: Final[Mapping[str, Fault]] = {fault.id: fault for fault in _ALL}
"""Every fault by its id."""


def fault(id: str) -> Fault:
    """Return the catalogue's entry. Raises KeyError with the nearest id for one that is not there."""
    found = FAULTS.get(id)
    if found is None:
        raise KeyError(f"unknown fault {id!r}{nearest(id, FAULTS)}")
    return found
