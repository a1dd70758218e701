"""The lint: shipped profiles are clean, each kind of fault is found, and the loader's errors name what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_profiles.check import check_profiles
from firmware_profiles.load import Profile, ProfileError, load_profiles, read_yaml, resolve_all
from firmware_profiles.read_only import switches

SHIPPED = load_profiles()
GOOD = """
id: maker/model
vendor: Maker
match:
  sys_object_id: [1.3.6.1.4.1.99999.*]
  firmware: {range: ">=1 <2"}
identity: {firmware: [1.3.6.1.4.1.99999.1.0]}
metrics:
  - {metric: modem.rssi_dbm, from: [1.3.6.1.4.1.99999.2.0], unit: [dBm]}
examples:
  - title: one
    answers: ["1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99999.5", "1.3.6.1.4.1.99999.1.0|4|1.5", "1.3.6.1.4.1.99999.2.0|2|-60"]
    readings: {device.firmware: "1.5", modem.rssi_dbm: -60}
  - title: two
    answers: ["1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99999.5", "1.3.6.1.4.1.99999.1.0|4|2.5"]
    refused: firmware
"""


def made(*texts: str) -> dict[str, Profile]:
    files = [read_yaml(text, f"{number}.yaml") for number, text in enumerate(texts)]
    return resolve_all({file.id: ("test.yaml", file) for file in files})


def findings(*texts: str) -> str:
    return "\n".join(map(str, check_profiles(made(*texts))))


def test_the_shipped_profiles_are_clean() -> None:
    assert check_profiles(SHIPPED) == []


def test_every_profile_has_a_device_it_reads_and_one_it_refuses() -> None:
    for profile in SHIPPED.values():
        assert any(example.refused is None for example in profile.file.examples), profile.id
        assert any(example.refused is not None for example in profile.file.examples), profile.id


def test_what_must_ship_is_there() -> None:
    assert {
        "teltonika/rutos-7.10",
        "hikvision/isapi",
        "dahua/cgi",
        "inhand/flexapi",
        "usr/g805",
        "huawei/hilink",
        "zte/goform",
        "milesight/ur",
        "onvif/device",
    } <= set(SHIPPED)


def test_a_good_profile_is_clean() -> None:
    assert findings(GOOD) == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("from: [1.3.6.1.4.1.99999.2.0]", "from: [1.3.6.1.4.1.99999.2]", "expected a scalar to end in .0"),
        ("from: [1.3.6.1.4.1.99999.2.0]", "from: [.1.3.6.0]", "expected an OID"),
        ("from: [1.3.6.1.4.1.99999.2.0]", "from: [1.3.6.01.0]", "expected an OID"),
        ("modem.rssi_dbm, from", "modem.rsi_dbm, from", "did you mean 'modem.rssi_dbm'"),
        ("unit: [dBm]", "unit: [mW]", "expected unit dBm or a scale, found 'mW'"),
        ("unit: [dBm]", "types: [octet]", "expected a wire type, found 'octet'"),
        ("unit: [dBm]", "pattern: '('", "expected a regular expression"),
        ("unit: [dBm]", "range: [-200, 0]", "expected a range within -150 to -1"),
        ("unit: [dBm]", "labels: {interface: x}", "expected labels among leg, modem"),
        (
            "from: [1.3.6.1.4.1.99999.2.0]",
            "from: [1.3.6.1.4.1.99999.2.0, 1.3.6.1.4.1.99999.2.0]",
            "alternative 2 is never reached",
        ),
        (
            "from: [1.3.6.1.4.1.99999.2.0]",
            "from: [{formula: a + b, of: {a: 1.3.6.1.0}}]",
            "expected the formula's names ['a', 'b']",
        ),
        ("from: [1.3.6.1.4.1.99999.2.0]", "from: [{formula: open(a), of: {a: 1.3.6.1.0}}]", "not allowed in a formula"),
        ('range: ">=1 <2"', 'range: "1 to 2"', "expected a range like"),
        ("1.3.6.1.4.1.99999.*", "1.3.6.1.4.1.99999*", "expected an OID, 'OID.*' or '*'"),
        ("modem.rssi_dbm: -60", "modem.rssi_dbm: -61", "expected modem.rssi_dbm = -61"),
        ("modem.rssi_dbm: -60", "modem.rsrp_dbm: -60", "expected no modem.rssi_dbm"),
        ("refused: firmware", "refused: probe", "expected a refusal with 'probe'"),
        ("99999.1.0|4|2.5", "99999.1.0|4|1.7", "expected the profile to refuse this device"),
        ("99999.2.0|2|-60", "99999.2.0|2|x", "line 3"),
    ],
)
def test_each_fault_is_found(old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert said in findings(GOOD.replace(old, new))


def test_a_metric_that_stands_twice() -> None:
    twice = GOOD.replace("examples:", "  - {metric: modem.rssi_dbm, from: [1.3.6.1.4.1.99999.3.0]}\nexamples:", 1)
    assert "expected each metric once" in findings(twice)


def test_overlapping_ranges_of_two_profiles() -> None:
    other = GOOD.replace("maker/model", "maker/other").replace(">=1 <2", ">=1.5 <3")
    assert "overlaps maker/other" in findings(GOOD, other)
    apart = GOOD.replace("maker/model", "maker/other").replace(">=1 <2", ">=2 <3")
    assert "overlaps" not in findings(GOOD, apart)


@pytest.mark.parametrize(
    "oid",
    [
        "1.3.6.1.4.1.25506.2.98.1.2.1",
        "1.3.6.1.4.1.25506.2.98.1.2.1.1.4",
        "1.3.6.1.4.1.53058.2",
        "1.3.6.1.4.1.53058.2.6.3",
    ],
)
def test_no_profile_walks_what_holds_a_secret(oid: str) -> None:
    old = "{metric: modem.rssi_dbm, from: [1.3.6.1.4.1.99999.2.0]"
    text = GOOD.replace(old, f"{{metric: device.cpu_percent, aggregate: max, from: [{oid}]")
    assert text != GOOD
    assert "would read" in findings(text)


HTTP = """
id: maker/web
vendor: Maker
transport: http
match: {probes: [{at: "info:model"}]}
requests:
  info: {path: /info, identity: true}
  more: {path: /status?format=json}
metrics: [{metric: device.cpu_percent, from: ["more:cpu"]}]
examples:
  - title: one
    answers: {info: '{"model":"x"}', more: '{"cpu":5}'}
    readings: {device.cpu_percent: 5}
  - title: two
    answers: {info: '{}'}
    refused: not answered
"""


def test_a_good_http_profile_is_clean() -> None:
    assert findings(HTTP) == ""


@pytest.mark.parametrize(
    "path",
    [
        "/ISAPI/System/reboot",
        "/cgi-bin/magicBox.cgi?action=reboot",
        "/cgi-bin/configManager.cgi?action=setConfig&a=b",
        "/goform/goform_set_cmd_process",
        "/api/device/control",
        "/v1/io/switch",
        "/system/factoryReset",
        "/upgrade",
        "/params/update",
        "/nvram/write",
    ],
)
def test_a_path_that_does_something_is_refused(path: str) -> None:
    assert "expected a request that only reads" in findings(HTTP.replace("/status?format=json", path))
    assert switches(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("path: /info, identity: true", "path: /info", "expected one request marked identity"),
        ("path: /info, identity", "path: //evil/info, identity", "expected a path that begins with /"),
        ("/status?format=json}", "/status, method: POST}", "expected why_post"),
        ('from: ["more:cpu"]', 'from: ["others:cpu"]', "expected request:path"),
        ("transport: http", "transport: http\nauth: {kind: basic, challenge: Basic}", "expected only with digest"),
        ("transport: http", "transport: http\nauth: {kind: form, fields: {p: <<secret>>}}", "expected one of user"),
        ('match: {probes: [{at: "info:model"}]}', "match: {}", "expected probes"),
    ],
)
def test_each_fault_over_http_is_found(old: str, new: str, said: str) -> None:
    assert old in HTTP
    assert said in findings(HTTP.replace(old, new))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id: maker/model\nmetricks: []", "metricks"),
        ("id: Maker Model", "expected"),
        ("id: maker/model\nid: maker/other", "stands twice"),
        ("id: [", "expected YAML"),
        ("id: maker/model\nmetrics: [{metric: modem.rssi_dbm}]", "from"),
        ("id: maker/model\nmetrics:\n  - {metric: x.y, from: [1.3.0], scale: ten}", "scale"),
        ("- 1", "expected"),
        ("", "expected"),
    ],
)
def test_a_broken_file_names_file_and_key(text: str, said: str) -> None:
    with pytest.raises(ProfileError) as caught:
        read_yaml(text, "maker/model.yaml")
    assert str(caught.value).startswith("maker/model.yaml")
    assert said.lower() in str(caught.value).lower()


def test_no_and_on_are_words_not_booleans() -> None:
    file = read_yaml("id: a/b\nmetrics: [{metric: power.ignition, from: [1.3.0], enum: {on: true, off: false}}]", "x")
    assert file.metrics[0].enum == {"on": True, "off": False}


def test_extends_in_a_circle_and_of_nobody() -> None:
    with pytest.raises(ProfileError, match="expected no circle"):
        made("id: a/one\nextends: [a/two]", "id: a/two\nextends: [a/one]")
    with pytest.raises(ProfileError, match="expected the id of a profile"):
        made("id: a/one\nextends: [a/none]")


def test_more_profiles_from_a_folder_replace_and_add(tmp_path: Path) -> None:
    (tmp_path / "maker").mkdir()
    (tmp_path / "maker" / "model.yaml").write_text(GOOD)
    found = load_profiles([tmp_path])
    assert set(found) == {*SHIPPED, "maker/model"}
    (tmp_path / "again.yaml").write_text(GOOD)
    with pytest.raises(ProfileError, match="expected an id of its own"):
        load_profiles([tmp_path])
    with pytest.raises(ProfileError, match="expected a folder"):
        load_profiles([tmp_path / "none"])


@given(st.one_of(st.text(max_size=200), st.text(alphabet="id: maker/model\n[]{}&*!|>-,'\"#", max_size=200)))
def test_any_text_is_a_profile_or_an_error(text: str) -> None:
    try:
        file = read_yaml(text, "fuzz.yaml")
    except ProfileError:
        return
    assert file.id


@pytest.mark.parametrize(("bound", "blocked"), [("<=1.5", "true"), ("<1.5", "false"), (">=1.4 <1.6", "true")])
def test_a_version_that_must_not_run_is_read_and_said_to_be_so(bound: str, blocked: str) -> None:
    text = GOOD + f"blocked: [{{range: '{bound}', why: it hangs, recommended: '1.7'}}]\n"
    assert "expected no device.firmware_blocked" in findings(text)
    assert findings(text.replace('"1.5", modem', f'"1.5", device.firmware_blocked: {blocked}, modem')) == ""


def test_a_range_of_blocked_versions_that_is_none_is_found() -> None:
    assert "blocked.range" in findings(GOOD + "blocked: [{range: below 2, why: it hangs, recommended: '3'}]\n")
