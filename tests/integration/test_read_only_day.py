"""We watch from beside (R1): a day of the whole simulated kit, in which nothing that writes is asked of it.

The short form of ``make readonlyday``: 36 moments of the day, every fault of the scenario among them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import aiohttp
import pytest

from agent.snmp import ber
from simulator.kit import Kit
from simulator.scenario import load_scenario
from tests.read_only_day import COMMUNITY, PASSWORD, Told, day, reads
from tests.services.fake_collector import until


@pytest.mark.timeout(600)
def test_a_day_of_the_whole_kit_changes_nothing(tmp_path: Path) -> None:
    told = asyncio.run(day(tmp_path, 36))
    assert told.writing == {}
    assert told.readings > 1_000, "it was read all the while"
    asked = {device for device, questions in told.asked.items() if questions}
    silent = {device for device in told.asked if device.endswith("/gnss")}
    assert asked == told.asked.keys() - silent, "everything but a receiver, which is listened to, was asked something"


@pytest.mark.parametrize(
    ("device", "question"),
    [
        ("router", "SetRequestPDU"),
        ("modem", "AT+CFUN=1,1"),
        ("modem", "ATZ"),
        ("modem", "AT&F"),
        ("modem", "AT&W"),
        ("modem", "ATD112;"),
        ("modem", "AT+COPS=0"),
        ("modem", 'AT+CGDCONT=1,"IP","x"'),
        ("modem", 'AT+QCFG="NAT",1'),
        ("modem", "AT+CREG=2"),
        ("encoder", "PUT"),
        ("encoder", "POST"),
        ("encoder", "DELETE"),
        ("stream", "SET_PARAMETER"),
        ("stream", "RECORD"),
        ("gnss", "bytes"),
    ],
)
def test_what_writes_is_told_from_what_reads(device: str, question: str) -> None:
    assert not reads(device, question)


def test_the_kit_counts_what_writes() -> None:
    """Else nothing would ever be found."""

    async def scene() -> Told:
        kit = Kit("amb-01", load_scenario("quiet"), COMMUNITY, encoder_password=PASSWORD, monotonic=lambda: 0.0)
        ends = await kit.start(0.0)
        loop = asyncio.get_running_loop()
        name = ber.tlv(ber.SEQUENCE, ber.tlv(0x06, ber.oid("1.3.6.1.2.1.1.6.0")) + ber.tlv(ber.OCTETS, b"here"))
        pdu = ber.tlv(0xA3, ber.integer(1) + ber.integer(0) + ber.integer(0) + ber.tlv(ber.SEQUENCE, name))
        message = ber.tlv(ber.SEQUENCE, ber.integer(1) + ber.tlv(ber.OCTETS, COMMUNITY.encode()) + pdu)
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", ends.router_port)
        )
        transport.sendto(message)
        for port, data in ((ends.modem_port, b"AT+CPIN?;+CFUN=0\r"), (ends.gnss_port, b"$PUBX,40*00\r\n")):
            line = os.open(port, os.O_RDWR | os.O_NOCTTY)
            os.write(line, data)
            os.close(line)
        async with aiohttp.ClientSession() as session, session.put(f"{ends.encoder_url}/ISAPI/System/reboot"):
            pass

        def told() -> Told:
            return Told(asked={f"amb-01/{device}": asked for device, asked in kit.asked().items()})

        with contextlib.suppress(TimeoutError):  # what lacks is told below
            await until(lambda: sum(told().writing.values()) >= sum(wrote.values()))
        transport.close()
        await kit.stop()
        return told()

    wrote = {
        "amb-01/router: SetRequestPDU": 1,
        "amb-01/modem: AT+CFUN=0": 1,
        "amb-01/gnss: bytes": 13,
        "amb-01/encoder: PUT": 1,
    }
    assert asyncio.run(scene()).writing == wrote
