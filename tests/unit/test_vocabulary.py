"""The makers' words: understood as a whole or not at all, negations first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_profiles.vocabulary import VOCABULARIES, word_for
from telemetry.metrics import METRICS

TECHNOLOGY = {
    "4g": "4.5G|4G|LTE|LTE-A|LTE+|4G LTE|FDD LTE|TDD LTE|E-UTRAN|CAT-M1|LTE CAT-M1|LTE NB-IOT|eMTC|Evolved 3G (LTE)",
    "5g_nsa": "LTE/NR|LTE-NR|LTE 5G|LTE_NSA|NR5G_NSA|NR5G-NSA|5G NSA|5G-NSA|5G (NSA)|NSA|EN-DC|ENDC",
    "5g_sa": "NR5G-SA|NR5G_SA|5G SA|5G-SA|SA|NR|NR5G|TDD NR5G|5G NR",
    "3g": "WCDMA|W-CDMA|HSPA+|HSDPA/HSUPA|DC-HSPA+|UMTS|TD-SCDMA|EVDO Rev A|CDMA2000",
    "2g": "GSM|GPRS|EDGE|GSM/GPRS|1xRTT|CDMA",
    "none": "No service|NO SERVICE|NOSERVICE|none|N/A|No signal",
    "": "5G|not LTE|no 5G|LTE/WCDMA|GSM LTE|Lite|unlteable|no error|automatic|" + "LTE " * 40,
}
REGISTRATION = {
    "home": "Home|Registered, home network|registered (home)|Registered, not roaming|Home (no roaming)",
    "roaming": "Roaming|Registered, roaming",
    "searching": "Searching|Not registered, searching|not registered, but searching",
    "denied": "Denied|Registration denied|Rejected",
    "not_registered": "Not registered|unregistered|Not registered, not searching|not currently searching|idle",
    "emergency_only": "Emergency only",
    "unknown": "unknown",
    "": "Not roaming|Registered|not denied|no emergency|not home|roaming, home|Limited service",
}
SIM = {
    "ready": "ready|OK|SIM READY|SIM PIN verified|PIN disabled",
    "absent": "SIM not inserted|absent|No SIM|no SIM card|not present|missing",
    "locked": "locked|PIN REQUIRED|Required PIN|PUK|SIM PIN|SIM PUK|PIN locked",
    "failure": "SIM failure|sim error|blocked|faulty",
    "busy": "SIM busy",
    "unknown": "NOT READY|unknown",
    "": "unlocked|not locked|no error|no failure|inserted|without fault|ready, not locked",
}


@pytest.mark.parametrize(
    ("vocabulary", "text", "expected"),
    [
        (vocabulary, text, expected or None)
        for vocabulary, words in (("technology", TECHNOLOGY), ("registration", REGISTRATION), ("sim", SIM))
        for expected, texts in words.items()
        for text in texts.split("|")
    ],
)
def test_a_text_is_understood_as_a_whole_or_not_at_all(vocabulary: str, text: str, expected: str | None) -> None:
    assert word_for(vocabulary, text) == expected
    assert word_for(vocabulary, text.swapcase()) == expected


@given(st.sampled_from(sorted(VOCABULARIES)), st.text(max_size=60))
def test_whatever_a_device_says_is_a_word_of_the_catalogue_or_unknown(vocabulary: str, text: str) -> None:
    word = word_for(vocabulary, text)
    assert word is None or word in METRICS[f"modem.{vocabulary}"].states
