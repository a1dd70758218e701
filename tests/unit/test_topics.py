from __future__ import annotations

import pytest

from telemetry.topics import AgentName, parse_up, presence, site_filter


def test_topics_are_those_of_the_design() -> None:
    name = AgentName("c1", "amb-03", "router")
    assert name.up("live") == "kitwatch/v1/up/c1/amb-03/router/live"
    assert name.down("receipt") == "kitwatch/v1/down/c1/amb-03/router/receipt"
    assert parse_up(name.up("state")) == (name, "state")
    assert site_filter("c1") == "kitwatch/v1/up/c1/#"
    assert presence("c1") == "kitwatch/v1/down/c1/collector/state"


@pytest.mark.parametrize(
    "topic",
    [
        "kitwatch/v1/up/c1/amb/router/other",
        "kitwatch/v1/up/c1/amb/router",
        "kitwatch/v1/up/c1/amb/router/live/x",
        "kitwatch/v1/down/c1/amb/router/live",
        "kitwatch/v2/up/c1/amb/router/live",
        "kitwatch/v1/up/c1/collector/router/live",
        "kitwatch/v1/up/c1/amb/a b/live",
        "kitwatch/v1/up/c1/amb/" + "r" * 33 + "/live",
        "kitwatch/v1/up/c1/amb/\n/live",
        "",
    ],
)
def test_any_other_topic_is_refused_by_name(topic: str) -> None:
    for _ in range(2):  # what has been parsed is remembered; what was refused is refused again
        with pytest.raises(ValueError, match="found topic"):
            parse_up(topic)
