"""The catalogue against the table that was agreed, copied row by row: id, roots, class, always, first."""

from __future__ import annotations

import pytest

from telemetry.faults import FAULTS, SLA_CLASSES, SLA_NAMES, fault, severity

TABLE = """
antenna_degraded | 天线信号劣化 | router / modem | general | check antenna cable and connector
sim_absent | SIM卡未检测到 | modem | disaster | reseat SIM
sim_locked | SIM卡锁定 | modem | disaster | unlock with the carrier's code
registration_denied | 网络拒绝注册 | modem | disaster | ask the carrier about the subscription
roaming | 漫游 | modem | deferrable | check operator selection
nr_fallback | 5G回落4G | modem | general | check 5G setting and subscription
modem_hot | 模组过热 | modem | general | check ventilation
modem_hung | 模组无响应 | modem | disaster | restart modem (with consent)
wan_no_data | 已注册但不通 | router | disaster | check APN, data plan, firewall
high_delay | 时延过高 | router | general | compare with other vehicles there, then antenna and plan
packet_loss | 丢包 | router | general | compare with other vehicles there, then antenna and plan
data_volume_near_cap | 流量将达上限 | modem | deferrable | order volume or send thrifty
router_dead | 路由器离线 | router | disaster | check power and fuse
router_reboot_loop | 路由器反复重启 | router | general | check supply voltage
management_unreachable | 设备管理口不通 | any | deferrable | check credentials and firmware
camera_down | 摄像头离线 | camera | general | check camera power
stream_frozen | 画面冻结 | camera / encoder | general | restart stream (with consent)
stream_lossy | 视频丢包 | encoder | general | check cabling
encoder_no_video | 编码器无视频输入 | encoder | general | check camera cable
encoder_down | 编码器离线 | encoder | general | check power
video_all_down | 全部视频中断 | switch / power | disaster | check switch power
gnss_antenna | 定位天线故障 | gnss | general | check GNSS antenna
gnss_jumping | 定位跳变 | gnss | deferrable | check antenna's place and cable
supply_sag | 供电电压低 | power | general | check battery and wiring
alternator_weak | 发电机充电不足 | power | general | measure charging voltage
ups_battery_worn | UPS电池老化 | ups | hardware, *always* | replace battery
on_battery | UPS电池供电 | ups | general | check the UPS's feed
power_lost | 意外断电 | power | general | check main fuse and connector
disk_filling | 磁盘将满 | host | deferrable, *always* | free space, look what grows
battery_worn | 平板电池老化 | host | hardware, *always* | replace battery
host_hot | 平板过热 | host | general | shade, ventilation
cpu_runaway | CPU持续过高 | host | deferrable | see which process
foreign_network | 连到其他车辆网络 | host | general | reconnect to own vehicle
agent_down | 采集程序停止 | agent | deferrable | look at the agent's service
clock_unset | 时钟未同步 | host | deferrable | NTP and GNSS reachable?
outbox_overrun | 缓存溢出 | agent | deferrable | how long without contact? enlarge the outbox
outbox_volatile | 缓存未落盘 | agent | general, *always* | check disk and state directory
login_refused | 设备拒绝登录 | any | deferrable, *always* | check account and password
identity_clash | 设备身份重复 | agent | general, *always* | find the copy, enrol it anew
vehicle_silent | 车辆失联 | vehicle | general | call the crew
firmware_changed | 固件版本变化 | any | deferrable, *always* | planned? then acknowledge
firmware_blocked | 固件禁用版本 | any | deferrable, *always* | update to the recommended
certificate_expiring | 证书将到期 | any | deferrable, *always* | renew
profile_unknown | 未识别设备 | any | deferrable, *always* | `kitwatch profiles match`, write or choose a profile
site_unreachable | 站点通信中断 | site | disaster, *always* | call the site's network, look at the broker's host
broker_down | 消息服务中断 | site | disaster, *always* | is the broker's service up?
platform_module_down | 平台模块不可用 | module | disaster, *always* | call the platform's supplier
platform_module_slow | 平台模块变慢 | module | general, *always* | call the platform's supplier
centre_clock_wrong | 中心时钟错误 | site | general, *always* | check the centre's NTP
centre_disk_filling | 中心磁盘将满 | collector | general, *always* | free space, look what grows
influx_refuses | 时序库拒绝写入 | collector | general, *always* | read the server's words
quarantine_growing | 隔离数据增多 | collector | deferrable, *always* | look at `kitwatch deadletters`
sink_behind | 数据写出滞后 | collector | deferrable, *always* | look how fast time series database and disk are
broker_drops | 消息服务丢弃消息 | collector | deferrable, *always* | max_queued_messages? does the collector keep up?
influx_unreachable | 时序库不可用 | collector | deferrable, *always* | service, network, token
calendar_missing | 工作日历缺失 | collector | deferrable, *always* | load the calendar
notice_undelivered | 通知未送达 | collector | general, *always* | call by telephone, check the channel
"""


def rows() -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]


def test_every_row_is_there_in_its_order() -> None:
    assert [row[0] for row in rows()] == list(FAULTS)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_row(row: list[str]) -> None:
    id, chinese, roots, sla_class, first = row
    found = FAULTS[id]
    assert found.zh == chinese
    assert found.roots == tuple(roots.split(" / "))
    assert found.sla_class == sla_class.split(",")[0]
    assert found.always == sla_class.endswith("*always*")
    assert found.first_en == first
    assert bool(found.first_zh) == bool(first)
    assert found.en


def test_severity_follows_the_class() -> None:
    """Brief: what stops the business is critical; general and hardware faults are major; the rest is minor."""
    assert {name: severity(name) for name in SLA_CLASSES} == {
        "disaster": "critical",
        "general": "major",
        "hardware": "major",
        "change": "minor",
        "consultation": "minor",
        "deferrable": "minor",
    }
    assert set(SLA_NAMES) == set(SLA_CLASSES)


def test_an_unknown_fault_names_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'camera_down'"):
        fault("camera_dwn")
