"""Which profile is used: stages, specificity, unknown and ambiguous devices."""

from __future__ import annotations

from typing import Any

import pytest

from firmware_profiles.answers import SnmpAnswers, Wire
from firmware_profiles.load import Profile, load_profiles, read_yaml, resolve_all
from firmware_profiles.match import Matched, match, object_id_matches, questions

SHIPPED = load_profiles()
LINUX = "1.3.6.1.4.1.8072.3.2.10"


def device(object_id: str, **more: str) -> SnmpAnswers:
    values: dict[str, Wire] = {"1.3.6.1.2.1.1.2.0": Wire("oid", object_id)}
    values |= {oid.replace("_", "."): Wire("octets", text.encode()) for oid, text in more.items()}
    return SnmpAnswers(values)


def teltonika(firmware: str | None, product: str = "RUT955V03XXX") -> SnmpAnswers:
    values = {"1.3.6.1.4.1.48690.1.3.0": product}
    if firmware is not None:
        values["1.3.6.1.4.1.48690.1.6.0"] = firmware
    return device(LINUX, **values)


@pytest.mark.parametrize(
    ("pattern", "object_id", "holds"),
    [
        ("1.3.6.1.4.1.368", "1.3.6.1.4.1.368", True),
        ("1.3.6.1.4.1.368", "1.3.6.1.4.1.368.1", False),
        ("1.3.6.1.4.1.368.*", "1.3.6.1.4.1.368.1.1", True),
        ("1.3.6.1.4.1.368.*", "1.3.6.1.4.1.3681.1", False),
        ("1.3.6.1.4.1.368.*", "1.3.6.1.4.1", False),
        ("*", "1.3.6.1.4.1", True),
    ],
)
def test_object_ids_are_whole_numbers(pattern: str, object_id: str, holds: bool) -> None:
    assert object_id_matches(pattern, object_id) is holds


@pytest.mark.parametrize(
    ("firmware", "expected"),
    [
        ("RUT9_R_00.07.06.18", "teltonika/rutos-7.0"),
        ("RUTX_R_00.07.00", "teltonika/rutos-7.0"),
        ("RUTX_R_00.07.09.5", "teltonika/rutos-7.0"),
        ("TRB500_R_00.07.10", "teltonika/rutos-7.10"),
        ("NEWBOX_R_00.07.23.1", "teltonika/rutos-7.10"),
        (None, "teltonika/rutos-7"),
    ],
)
def test_the_firmware_decides_not_the_name_of_the_platform(firmware: str | None, expected: str) -> None:
    found = match(SHIPPED, teltonika(firmware))
    assert found.profile is not None
    assert found.profile.id == expected


@pytest.mark.parametrize("firmware", ["RUT9_R_00.08.00", "RUT9_R_00.06.99", "garbage"])
def test_a_known_family_with_another_firmware_is_unknown_not_generic(firmware: str) -> None:
    found = match(SHIPPED, teltonika(firmware))
    assert found.profile is None
    assert "no profile for this firmware" in found.why


def test_every_other_profile_says_why_not() -> None:
    found = match(SHIPPED, teltonika("RUT9_R_00.07.06.18"))
    reasons = {refusal.profile: (refusal.stage, refusal.reason) for refusal in found.refusals}
    snmp = {key for key, profile in SHIPPED.items() if profile.transport == "snmp"}
    assert set(reasons) == snmp - {"teltonika/rutos-7.0"}
    assert reasons["teltonika/rutos-7.10"][0] == "firmware"
    assert reasons["teltonika/rutos-legacy"][0] == "probe"
    assert reasons["generic/net-snmp"] == ("specificity", "teltonika/rutos-7.0 is more specific")
    assert reasons["axis/from-12"][0] == "sysObjectID"


def test_a_plain_linux_box_is_generic() -> None:
    found = match(SHIPPED, device(LINUX))
    assert found.profile is not None
    assert found.profile.id == "generic/net-snmp"


def test_a_stranger_is_unknown() -> None:
    found = match(SHIPPED, device("1.3.6.1.4.1.31496.10.10.46"))
    assert found.profile is None
    assert "1.3.6.1.4.1.31496.10.10.46" in found.why


def test_no_object_id_is_unknown() -> None:
    assert match(SHIPPED, SnmpAnswers({})).profile is None


def made(*texts: str) -> dict[str, Profile]:
    files = [read_yaml(f"vendor: Maker\n{text}", "test.yaml") for text in texts]
    return resolve_all({file.id: ("test.yaml", file) for file in files})


def chosen(profiles: dict[str, Profile], answers: Any) -> Matched:
    return match(profiles, answers)


def test_two_that_fit_equally_well_are_ambiguous() -> None:
    profiles = made(
        "id: maker/one\nmatch: {sys_object_id: [1.3.6.1.4.1.1.*]}",
        "id: maker/two\nmatch: {sys_object_id: [1.3.6.1.4.1.1.*]}",
    )
    found = chosen(profiles, device("1.3.6.1.4.1.1.5"))
    assert found.profile is None
    assert found.why == "ambiguous: maker/one, maker/two fit equally well"


def test_the_longer_object_id_wins_then_the_more_evidence() -> None:
    profiles = made(
        "id: maker/wide\nmatch: {sys_object_id: [1.3.6.1.4.1.1.*], probes: [{at: 1.3.9.0}]}",
        "id: maker/narrow\nmatch: {sys_object_id: [1.3.6.1.4.1.1.5]}",
        "id: maker/probed\nmatch: {sys_object_id: [1.3.6.1.4.1.1.5], probes: [{at: 1.3.9.0, matches: '^x'}]}",
    )
    plain = chosen(profiles, device("1.3.6.1.4.1.1.5"))
    assert plain.profile is not None
    assert plain.profile.id == "maker/narrow"
    probed = chosen(profiles, device("1.3.6.1.4.1.1.5", **{"1.3.9.0": "xyz"}))
    assert probed.profile is not None
    assert probed.profile.id == "maker/probed"


def test_only_what_can_decide_is_asked() -> None:
    scalars, columns = questions(SHIPPED.values(), "1.3.6.1.4.1.368.1.1")
    assert "1.3.6.1.4.1.368.4.1.100.5.0" in scalars
    assert not any(oid.startswith("1.3.6.1.4.1.48690") for oid in scalars)
    assert len(scalars) + len(columns) < 15
