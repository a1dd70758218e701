"""A refused login rests: not for ever, not in a storm."""

from hypothesis import given
from hypothesis import strategies as st

from agent.refused_login import DAY, PAUSE, RefusedLogin


def test_it_rests_for_less_than_an_hour() -> None:
    login = RefusedLogin("user 'kit' at 10.0.0.5")
    assert not login.rests(0.0, b"secret")
    login.refuse(0.0, "401", b"secret")
    assert login.told == "login refused: user 'kit' at 10.0.0.5 (401); tried again within the hour"
    assert login.rests(PAUSE - 1, b"secret")
    assert login.rests(PAUSE - 1, b"")  # a secret that cannot be read is no new one
    assert not login.rests(PAUSE, b"secret")
    assert not login.rests(10.0, b"another"), "a changed secret is tried at once"
    login.accept()
    assert not login.rests(10.0, b"secret")


@given(st.lists(st.tuples(st.floats(0, 400), st.sampled_from([b"one", b"two"]), st.booleans()), max_size=400))
def test_whatever_comes_there_are_25_refusals_a_day_at_most(steps: list[tuple[float, bytes, bool]]) -> None:
    """Secrets that change and logins that are taken in between included."""
    login, now = RefusedLogin("x"), 0.0
    refused: list[float] = []
    for wait, mark, taken in steps:
        now += wait
        if login.rests(now, mark):
            continue
        if taken:
            login.accept()
        else:
            login.refuse(now, "401", mark)
            refused.append(now)
    assert all(sum(other - DAY < time <= other for time in refused) <= 25 for other in refused)


def test_a_secret_that_changes_all_the_time_is_no_way_round_it() -> None:
    """Each is tried at once, until the day's 25 are spent; then all rest until the first of them is a day old."""
    login = RefusedLogin("x")
    refused = []
    for minute in range(2 * 24 * 60):
        now, mark = minute * 60.0, str(minute).encode()
        if not login.rests(now, mark):
            login.refuse(now, "401", mark)
            refused.append(minute)
    assert refused[:26] == [*range(25), 24 * 60], refused[:30]
