"""The page of all cells."""

from benchmarks import gallery


def test_the_page_is_that_of_todays_cells():
    """`python -m benchmarks report` writes it anew."""
    assert gallery.PAGE.read_text() == gallery.page()
