"""NMEA framing, epochs and fixes. Expectations are hand arithmetic from NMEA 0183 and the makers' frame formats."""

import datetime
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.protocols.fixes import Epoch, Fixes
from agent.protocols.nmea import MAX_BINARY, MAX_SENTENCE, Framer, checksum, parse
from tests.unit.bounds import MOST, quick

GGA = b"$GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,*76\r\n"
"""A widely printed example sentence with its checksum: 53 deg 21.6802', 6 deg 30.3372' west."""
UBX_ACK = bytes.fromhex("b5620501020006010f38")
"""UBX-ACK-ACK of CFG-MSG as u-blox's document prints it; its sum is 0f 38."""


def sentence(text: str) -> bytes:
    return f"${text}*{checksum(text.encode()):02X}\r\n".encode()


def epochs(*texts: str) -> list[Epoch]:
    fixes = Fixes()
    data = b"".join(sentence(text) for text in texts)
    return fixes.feed(data, 1.0) + fixes.finish(1.0)


def only(*texts: str) -> Epoch:
    found = epochs(*texts)
    assert len(found) == 1
    return found[0]


def test_the_printed_checksum_is_right() -> None:
    assert checksum(GGA[1:-5]) == 0x76
    assert Framer().feed(GGA) == [GGA[1:-5]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pieces_of_any_size_give_the_same_sentences(size: int) -> None:
    data = UBX_ACK + GGA + b"noise" + UBX_ACK + GGA
    framer = Framer()
    found = [content for at in range(0, len(data), size) for content in framer.feed(data[at : at + size])]
    assert found == [GGA[1:-5]] * 2
    assert (framer.sentences, framer.bad_checksums, framer.binary_frames, framer.held) == (2, 0, 2, 0)


def test_lower_case_sum_is_taken_and_a_wrong_one_counted() -> None:
    framer = Framer()
    lower = b"$GPGLL,5321.6802,N,00630.3372,W,092750.000,A*" + b"35"
    content = lower[1:-3]
    good = b"$" + content + b"*%02x" % checksum(content)
    wrong = b"$" + content + b"*%02x" % (checksum(content) ^ 1)
    assert framer.feed(good + b"\r\n" + wrong + b"\r\n") == [content]
    assert (framer.sentences, framer.bad_checksums) == (1, 1)


def test_a_sentence_inside_another_is_found_and_the_outer_one_dropped() -> None:
    framer = Framer()
    found = framer.feed(b"$GPGSV,4,2,1" + GGA + b"5,15,55,170,50*71\r\n")
    assert found == [GGA[1:-5]]
    assert (framer.sentences, framer.bad_checksums, framer.unfinished) == (1, 0, 1)


def test_a_dollar_without_a_sum_is_neither_good_nor_bad() -> None:
    framer = Framer()
    assert framer.feed(b"$POLYN,TIME,RESTART\r\n$PFOO*G1\r\n$PBAR*1\r\n" + GGA) == [GGA[1:-5]]
    assert (framer.sentences, framer.bad_checksums, framer.unfinished) == (1, 0, 3)


def test_a_star_that_no_hex_follows_does_not_hide_the_sum_behind_it() -> None:
    framer = Framer()
    framer.feed(b"$GPGGA,0927*0.000,5321*.6802,N*76\r\n")
    assert framer.bad_checksums == 1


def test_a_sentence_inside_a_ubx_payload_is_not_a_sentence() -> None:
    payload = GGA
    body = bytes((0x04, 0x02)) + len(payload).to_bytes(2, "little") + payload
    first = second = 0
    for byte in body:
        first = (first + byte) % 256
        second = (second + first) % 256
    framer = Framer()
    assert framer.feed(b"\xb5\x62" + body + bytes((first, second)) + GGA) == [GGA[1:-5]]
    assert framer.binary_frames == 1


def test_a_sirf_frame_is_skipped_whole() -> None:
    payload = b"\x02" + GGA + b"\xff" * 200  # a sum of more than the 15 bits that are kept of it
    frame = b"\xa0\xa2" + len(payload).to_bytes(2, "big") + payload
    frame += (sum(payload) & 0x7FFF).to_bytes(2, "big") + b"\xb0\xb3"
    framer = Framer()
    assert framer.feed(frame + GGA) == [GGA[1:-5]]
    assert framer.binary_frames == 1


def test_noise_that_looks_like_a_long_frame_does_not_swallow_what_follows() -> None:
    framer = Framer()
    assert framer.feed(b"\xb5\x62\x01\x02\xff\xff" + GGA) == [GGA[1:-5]]  # a length that nobody sends
    assert framer.feed(b"\xb5\x62\x01\x02\x10\x00" + GGA + GGA) == [GGA[1:-5]] * 2  # a sum that does not hold
    half_right = UBX_ACK[:-1] + bytes((UBX_ACK[-1] ^ 1,))
    assert framer.feed(half_right + GGA) == [GGA[1:-5]]
    assert framer.binary_frames == 0
    assert framer.feed(b"\xb5\x62\x01\x02\x00\x08" + GGA) == []  # 2,048 bytes may still come ...
    assert framer.finish() == [GGA[1:-5]]  # ... but did not


def test_an_endless_line_is_cut_off() -> None:
    framer = Framer()
    framer.feed(b"$" + b"A" * 100_000)
    assert framer.held <= MAX_SENTENCE
    assert framer.unfinished == 1
    assert framer.feed(b"\r\n" + GGA) == [GGA[1:-5]]


PIECES = st.sampled_from(
    [GGA, UBX_ACK, b"\xb5\x62", b"\xa0\xa2", b"\xb5\x62\x01\x02\x00\x0f", b"$", b"*", b"*76", b"\r\n", b"$GPRMC,,V,,*"]
)
NOISE = st.lists(st.one_of(PIECES, st.binary(max_size=60)), max_size=60).map(b"".join)


@given(NOISE, st.integers(min_value=1, max_value=64))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_the_reader_stays_bounded_and_how_it_is_cut_changes_nothing(data: bytes, size: int) -> None:
    whole, cut = Framer(), Framer()
    expected = whole.feed(data) + whole.finish()
    found = []
    for at in range(0, len(data), size):
        found += cut.feed(data[at : at + size])
        assert cut.held <= MAX_BINARY + 8
    assert found + cut.finish() == expected
    assert all(b"$" not in content and b"\r" not in content for content in expected)


FIELD = st.one_of(
    st.text(alphabet="0123456789.-+NSEWAVDRF*_ ", max_size=12),
    st.sampled_from(["nan", "inf", "1e999", "-0", "8960.000", "92750", "999999999999", "A", "V", "NNN", "9" * 300]),
    st.text(max_size=6),
)


@given(st.sampled_from(["GGA", "RMC", "GNS", "GLL", "GSA", "VTG", "ZDA", "TXT", "GSV", "ZZZ", ""]), st.lists(FIELD))
@settings(max_examples=500, deadline=None)
def test_a_good_sum_around_nonsense_breaks_nothing_and_never_gives_an_impossible_value(
    kind: str, fields: list[str]
) -> None:
    content = ",".join([f"GN{kind}", *fields]).encode("utf-8", errors="replace")
    fixes = Fixes()
    framed = b"$%s*%02X\r\n" % (content, checksum(content))
    for epoch in [*fixes.feed(GGA + framed + GGA, 0.0), *fixes.finish(0.0)]:
        assert epoch.latitude is None or -90 <= epoch.latitude <= 90
        assert epoch.longitude is None or -180 <= epoch.longitude <= 180
        assert epoch.hdop is None or 0 < epoch.hdop < 99
        assert epoch.speed_kmh is None or 0 <= epoch.speed_kmh <= 2000
        assert epoch.date is None or 2000 <= epoch.date.year < 2080
        assert epoch.fixed or (epoch.latitude, epoch.longitude, epoch.speed_kmh) == (None, None, None)


@pytest.mark.parametrize("size", [64, 4096, MOST])
@pytest.mark.parametrize(
    "unit",
    [
        b"$",
        b"$A*",
        b"$GPGGA,,,*00",
        b"\n\xa0\xa2",
        b"\xa0\xa2\x0f\x00",
        b"\xa0\xa2\x04\x00\xb0\xb3",
        b"\xb5\x62\x01\x02\x00\x0f",
    ],
)
def test_noise_costs_by_its_length_whatever_seems_to_begin_in_it(unit: bytes, size: int) -> None:
    """A binary frame that begins every few bytes and says that it is thousands long once cost its length each time."""
    data = (unit * MOST)[:MOST]

    def through() -> None:
        framer = Framer()
        for at in range(0, len(data), size):
            framer.feed(data[at : at + size])

    quick(through, seconds=0.2)


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_binary_frames_are_known_by_their_sums_however_they_are_cut(size: int) -> None:
    chance = random.Random(3)
    frames = []
    for length in (0, 1, 255, 256, 4000, MAX_BINARY):
        ubx = bytes((1, 2)) + length.to_bytes(2, "little") + chance.randbytes(length)
        first = second = 0
        for byte in ubx:  # the algorithm as u-blox prints it
            first = (first + byte) & 0xFF
            second = (second + first) & 0xFF
        frames.append(b"\xb5\x62" + ubx + bytes((first, second)))
        payload = chance.randbytes(length)
        total = sum(payload) & 0x7FFF
        frames.append(b"\xa0\xa2" + length.to_bytes(2, "big") + payload + total.to_bytes(2, "big") + b"\xb0\xb3")
    data = b"".join(frame + GGA for frame in frames)
    framer = Framer()
    found = [content for at in range(0, len(data), size) for content in framer.feed(data[at : at + size])]
    assert framer.binary_frames == len(frames)
    assert found == [GGA[1:-5]] * len(frames)


def test_position_is_degrees_and_minutes_with_hemispheres() -> None:
    fixes = Fixes()
    fixes.feed(GGA, 5.0)
    (epoch,) = fixes.finish(6.0)
    assert epoch.latitude == pytest.approx(53 + 21.6802 / 60, abs=1e-9)
    assert epoch.longitude == pytest.approx(-(6 + 30.3372 / 60), abs=1e-9)
    assert (epoch.time, epoch.satellites, epoch.hdop, epoch.altitude_m) == ("09:27:50", 8, 1.03, 61.7)
    assert (epoch.arrived, epoch.date, epoch.speed_kmh) == (5.0, None, None)


P = "5321.6802,N,00630.3372,W"


def test_times_are_compared_as_numbers_whatever_the_talker() -> None:
    found = epochs(
        f"GPGGA,081412,{P},1,8,1.0,,,,,,",
        f"GLGLL,{P},081412.000,A,A",
        f"GNRMC,081413.00,A,{P},10.0,,260514,,,A",
    )
    assert [epoch.time for epoch in found] == ["08:14:12", "08:14:13"]
    assert found[1].speed_kmh == pytest.approx(18.52)
    assert found[1].date == datetime.date(2014, 5, 26)


def test_without_times_a_kind_that_comes_again_begins_an_epoch() -> None:
    texts = ["GPGGA,,,,,,0,00,99.99,,,,,,", "GPRMC,,V,,,,,,,,,,N", "GPVTG,,,,,,,,,N"]
    found = epochs(*texts, *texts, *texts)
    assert len(found) == 3
    assert {(epoch.fix, epoch.time, epoch.hdop, epoch.satellites) for epoch in found} == {("none", None, None, 0)}


def test_a_time_after_sentences_without_one_begins_an_epoch() -> None:
    assert len(epochs("GPGGA,,,,,,0,00,,,,,,,", f"GPRMC,081412,A,{P},,,260514,,,A")) == 2


@pytest.mark.parametrize(
    ("texts", "fix"),
    [
        ([f"GPGGA,081412,{P},1,8,1.0,,,,,,", f"GPRMC,081412,V,{P},0.0,,260514,,,N"], "none"),
        ([f"GPGGA,081412,{P},0,3,1.0,,,,,,", f"GPRMC,081412,A,{P},0.0,,260514,,,A"], "none"),
        ([f"GPGGA,081412,{P},6,8,1.0,,,,,,"], "none"),  # estimated
        ([f"GPGGA,081412,{P},8,8,1.0,,,,,,"], "none"),  # simulator
        ([f"GNGNS,081412,{P},NNN,00,,,,,"], "none"),
        ([f"GNGNS,081412,{P},NAN,07,1.0,,,,"], "3d"),
        ([f"GNGNS,081412,{P},NDN,07,1.0,,,,"], "dgps"),
        ([f"GPGLL,{P},081412,V,N"], "none"),
        ([f"GPGLL,{P},081412,A,A"], "2d"),
        ([f"GPRMC,081412,A,{P},0.0,,260514,,,R"], "rtk"),
        ([f"GPRMC,081412,A,{P},0.0,,260514,,,A,V"], "2d"),  # the navigational status says nothing of the fix
        ([f"GPGGA,081412,{P},1,3,1.0,,,,,,"], "2d"),
        ([f"GPGGA,081412,{P},1,4,1.0,,,,,,"], "3d"),
        ([f"GPGGA,081412,{P},1,8,1.0,,,,,,", "GPGSA,A,2,01,02,03,,,,,,,,,,3.0,2.8,1.0"], "2d"),
        ([f"GPGGA,081412,{P},3,8,1.0,,,,,,", "GPGSA,A,3,01,02,03,,,,,,,,,,3.0,2.8,1.0"], "3d"),
        ([f"GPGGA,081412,{P},2,00,1.0,,,,,,"], "dgps"),  # no satellites do not void a fix
        ([f"GPGGA,081412,{P},4,8,1.0,,,,,,"], "rtk"),
        ([f"GPGGA,081412,{P},5,8,1.0,,,,,,"], "rtk_float"),
    ],
)
def test_every_kind_that_is_present_must_say_fix(texts: list[str], fix: str) -> None:
    epoch = only(*texts)
    assert epoch.fix == fix
    assert (epoch.latitude is None) == (epoch.longitude is None) == (fix == "none")


@pytest.mark.parametrize("also", ["GPGSA,A,1,,,,,,,,,,,,,2.0,1.2,1.5", "GPRMC,081412,V,,,,,,,260514,,,N"])
def test_no_fix_has_no_dilution_either(also: str) -> None:
    epoch = only("GPGGA,081412,,,,,0,03,1.20,,M,,M,,", also)
    assert (epoch.fix, epoch.satellites, epoch.hdop) == ("none", 3, None)


def test_no_fix_has_no_speed_either() -> None:
    epoch = only("GPGGA,081420,,,,,0,0,,,M,,M,,", "GNRMC,081420,V,,,,,0.00,301.2,260514,,,N", "GPVTG,,,,,,,5.0,K,A")
    assert (epoch.fix, epoch.speed_kmh, epoch.date) == ("none", None, datetime.date(2014, 5, 26))


@pytest.mark.parametrize(
    ("talkers", "satellites"),
    [(("GP,08", "GL,02"), 8), (("GL,02", "GP,08"), 8), (("GP,08", "GN,12", "GL,09"), 12), (("GP,09", "GN,07"), 7)],
)
def test_the_best_talker_counts_the_satellites_and_nobody_adds_them_up(
    talkers: tuple[str, ...], satellites: int
) -> None:
    texts = [f"{talker[:2]}GGA,020935.000,{P},1,{talker[3:]},0.9,,,,,," for talker in talkers]
    assert only(*texts).satellites == satellites


def test_nothing_known_of_satellites_is_absent_not_zero() -> None:
    epoch = only(f"GPRMC,205206.00,A,{P},000.0,000.0,090605,016.6,E")
    assert (epoch.satellites, epoch.hdop, epoch.fix) == (None, None, "2d")


@pytest.mark.parametrize(
    "position",
    [
        "8960.000000,N,00000.000000,E",
        "9100.0,N,00630.3,W",
        "5321.6,N,18130.3,W",
        "5321.6,,00630.3,W",
        "0000.0,N,00000.0,E",
    ],
)
def test_an_impossible_position_is_withheld_and_flagged(position: str) -> None:
    epoch = only(f"GPGGA,081412,{position},1,8,1.0,,,,,,")
    assert (epoch.latitude, epoch.longitude) == (None, None)
    assert [flag.split(":")[0] for flag in epoch.flags] == ["withheld gnss.latitude"]


def test_the_position_of_the_next_kind_is_taken_where_the_first_is_empty() -> None:
    epoch = only("GPGGA,081412,,,,,1,8,1.0,,,,,,", f"GPRMC,081412,A,{P},0.0,,260514,,,A")
    assert epoch.latitude == pytest.approx(53.361336667, abs=1e-9)


@pytest.mark.parametrize("date", ["050180", "220899", "000000", "310221", ""])
def test_an_impossible_date_is_never_reported(date: str) -> None:
    epoch = only(f"GPRMC,235946.005,A,{P},0.0,,{date},,,A")
    assert (epoch.date, epoch.utc_ms) == (None, None)
    assert epoch.fixed


@pytest.mark.parametrize(
    ("zda", "date"),
    [
        ("GPZDA,235959.00,31,12,2025,00,00", datetime.date(2025, 12, 31)),
        ("GPZDA,000000.00,01,01,2026,00,00", datetime.date(2025, 12, 31)),  # printed first in the second that follows
        ("GPZDA,120000.00,05,01,1980,00,00", None),
        ("GPZDA,,,,,,", None),
    ],
)
def test_the_date_may_come_from_zda(zda: str, date: datetime.date | None) -> None:
    assert only(f"GPGGA,235959.00,{P},1,8,1.0,,,,,,", zda).date == date


def test_utc_in_milliseconds() -> None:
    epoch = only(f"GPRMC,074159.799,A,{P},0.0,,250215,,,A")
    expected = datetime.datetime(2015, 2, 25, 7, 41, 59, 799000, datetime.UTC)
    assert epoch.utc_ms == round(expected.timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "antenna"),
    [
        ("GNTXT,01,01,02,ANTSTATUS=OPEN", "open"),
        ("GPTXT,01,01,02,ANTSTATUS=DONTKNOW", "unknown"),
        ("GPTXT,01,01,01,ANTENNA SHORT", "short"),
        ("GPTXT,01,01,01,ANTENNA OK", "ok"),
        ("GNTXT,01,01,00,txbuf alloc", None),
    ],
)
def test_the_antenna_as_the_receiver_sees_it(text: str, antenna: str | None) -> None:
    fixes = Fixes()
    fixes.feed(sentence(text), 0.0)
    assert fixes.antenna == antenna


def test_no_nmea_is_not_no_fix() -> None:
    fixes = Fixes()
    assert fixes.feed(UBX_ACK * 100, 7.0) == []
    assert (fixes.seen, fixes.under_way()) == (None, None)
    fixes.feed(b"$PSRF151,3,1833,28693,0x7EFFD7FF*67\r\n", 8.0)
    assert (fixes.seen, fixes.under_way()) == (8.0, None)


def test_proprietary_sentences_never_begin_or_change_an_epoch() -> None:
    epoch = only(f"GPGGA,081412,{P},1,8,1.0,,,,,,", "PQGSA,A,1,,,,,,,,,,,,,9.9,9.9,9.9,4", "PMTK010,001")
    assert (epoch.fix, epoch.hdop) == ("3d", 1.0)


def test_a_sentence_the_library_cannot_read_is_flagged_and_says_nothing() -> None:
    fixes = Fixes()
    data = sentence(f"GPGGA,081412,{P},one,8,1.0,,,,,,") + sentence(f"GPRMC,081412,A,{P},1.0,,260514,,,A")
    fixes.feed(data, 0.0)
    (epoch,) = fixes.finish(0.0)
    assert epoch.fix == "2d"
    assert list(fixes.flags) == ["unparsed gnss.fix: GGA"]


def test_a_field_at_the_end_that_the_library_cannot_read_does_not_void_the_fix() -> None:
    epoch = only(f"GPGGA,081412,{P},2,8,1.0,10.0,M,8.0,M,1.2,base")
    assert (epoch.fix, epoch.satellites, epoch.hdop) == ("dgps", 8, 1.0)


def test_a_receiver_that_repeats_one_moment_for_ever_stays_one_epoch_of_bounded_size() -> None:
    fixes = Fixes()
    for moment in range(2000):
        assert fixes.feed(GGA, float(moment)) == []
    under_way = fixes.under_way()
    assert under_way is not None
    assert under_way.arrived == 0.0


def test_parse_keeps_the_raw_fields() -> None:
    found = parse(b"GPGLL,5321.6802,N,00630.3372,W,092750.000,A")
    assert (found.talker, found.kind, found.time, found.fields[1]) == ("GP", "GLL", "092750.000", "N")
