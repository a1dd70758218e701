"""Transcripts replayed over a pty: the modem input reads live what ``decode at`` reads from the file."""

import asyncio
import re
from typing import Any

import pytest

from agent.inputs.base import Poll
from agent.inputs.modem import Modem
from telemetry.inputs import ModemInput
from tests.captures.test_at_captures import EXPECTED, at
from tests.services.modem import kit, values

REPLAYED: list[tuple[str, int, str, str]] = [
    # file, block, what +CGMI and +CGMM say where the transcript does not ask
    ("fibocom_fm350-gl_lte.txt", 1, "Fibocom Wireless Inc.", "FM350-GL"),
    ("fibocom_fm350-gl_endc.txt", 1, "Fibocom Wireless Inc.", "FM350-GL"),
    ("fibocom_fm350-gl_endc-cesq_and_no-signal.txt", 1, "Fibocom Wireless Inc.", "FM350-GL"),
    ("fibocom_l850-gl_lte_xmci.txt", 2, "Fibocom", "L850-GL"),
    ("huawei_e3372h-320_wcdma.txt", 1, "huawei", "E3372h-320"),
    ("openluat_air724ug_lte_data-after-ok.txt", 1, "", "Air724UG"),
    ("quectel_ec200t_lte_qtemp255.txt", 1, "Quectel", "EC200T"),
    ("quectel_glinet-e5800_nr5g-nsa_bare-cops.txt", 1, "Quectel", "module"),
    ("quectel_rg500q-ea_nr5g-nsa.txt", 1, "Quectel", "RG500Q-EA"),
    ("quectel_rm500q-gl_no-service.txt", 2, "Quectel", "RM500Q-GL"),
    ("quectel_rm500u-cnv_nr5g-sa.txt", 1, "Quectel", "RM500U-CNV"),
    ("quectel_rm520n-gl_limsrv_lab.txt", 1, "Quectel", "RM520N-GL"),
    ("quectel_rm5xx_nr5g-sa_chained_qrsrp-unknown.txt", 1, "Quectel", "RM5xx"),
    ("sierra_em7455_lte.txt", 1, "Sierra Wireless, Incorporated", "EM7455"),
    ("sierra_em7455_lte.txt", 2, "Sierra Wireless, Incorporated", "EM7455"),
    ("simcom_sim7906_lte.txt", 1, "SIMCOM INCORPORATED", "SIM7906"),
    ("simcom_sim82xx_nr5g_fw-variants.txt", 2, "SIMCOM INCORPORATED", "SIM8202G"),
    ("simcom_a76xx_sim-race_no-service.txt", 2, "SIMCOM INCORPORATED", "A7670E"),
    ("tdtech_mt5700m-cn_nr-and-lte.txt", 1, "TD Tech", "MT5700M-CN"),
    ("tdtech_mt5700m-cn_nr-and-lte.txt", 3, "TD Tech", "MT5700M-CN"),
    ("telit_lm960a18_lte.txt", 1, "Telit", "LM960A18"),
]


def block_lines(name: str, number: int) -> list[str]:
    text = at(name).read_text(encoding="utf-8")
    parts = re.split(r"^# ---.*$", text, flags=re.MULTILINE)
    if not re.search("^[<>]", parts[0], re.MULTILINE):
        parts = parts[1:]
    return [line for line in parts[number - 1].splitlines() if line.startswith((">", "<"))]


def table(name: str, number: int) -> dict[str, list[str]]:
    """Each part of each command with the lines that bear its name and the rows behind them."""
    found: dict[str, list[str]] = {}
    asked: list[str] = []
    current = ""
    for line in block_lines(name, number):
        body = line[2:].strip()
        if line.startswith(">"):
            parts = body.removeprefix("AT").removeprefix("at").split(";")
            asked = [f"AT{part}".upper() for part in parts]
            current = asked[0]
            for part in asked:
                found[part] = []
        elif asked and body and body not in ("OK", "ERROR") and not body.upper().startswith("AT"):
            for part in sorted(asked, key=lambda text: text.endswith("?")):  # of +X=2;+X?;+X=0 the query
                mark = re.match(r"AT([+^!#][A-Z0-9]+)", part)
                if mark and body.upper().startswith(f"{mark[1]}:"):
                    current = part
            found[current].append(body)
    return found


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize(("name", "number", "maker", "model"), REPLAYED)
def test_live_is_as_decoded(name: str, number: int, maker: str, model: str, echo: bool) -> None:
    answers: dict[str, Any] = {"AT": [], "AT+CGMI": [maker], "AT+CGMM": [model]} | table(name, number)

    async def run(port: str) -> Poll:
        modem = Modem(ModemInput(port=port))
        try:
            return await modem.poll(0.0)
        finally:
            await modem.close()

    with kit(answers, echo=echo) as modem:
        found = values(asyncio.run(run(modem.name)))
    assert (found.pop("device.reachable"), found.pop("port_open")) == (True, True)
    assert found == EXPECTED[name][number]
