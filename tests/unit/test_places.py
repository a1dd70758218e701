"""Places are cells of about 200 m, asked with their neighbours."""

from collector.core.places import COARSE, around, cell_of, distance_m


def test_a_yard_is_one_place_and_the_next_quarter_another() -> None:
    """0.001 degrees of latitude are 111 m; a fix scatters over a cell's edge, so that neighbours are asked too."""
    yard = cell_of(31.2000, 121.4000)
    assert cell_of(31.2010, 121.4000) in around(yard)
    assert cell_of(31.2100, 121.4000) not in around(yard)
    assert around(yard)[0] == yard
    assert len(set(around(yard))) == 7
    assert cell_of(31.2100, 121.4000, COARSE) in around(cell_of(31.2000, 121.4000, COARSE))


def test_a_minute_of_arc_is_a_nautical_mile() -> None:
    assert abs(distance_m((31.0, 121.0), (31.0 + 1 / 60, 121.0)) - 1852) < 5
