"""Readers of published recordings, from their files as they come; each module has `load(path)`. READERS are those of actions."""

from seqjax.data.recordings import hapt, jhmdb, mnist, piano_rolls, salads, ut_interaction, weizmann

READERS = {
    "hapt": hapt.load,
    "hapt_windows": hapt.load_windows,
    "jhmdb": jhmdb.load,
    "salads": salads.load,
    "ut_interaction": ut_interaction.load,
    "weizmann": weizmann.load,
}

# of those features whose mirror image is known, a function that returns it
MIRRORS = {"jhmdb": jhmdb.mirror, "weizmann": weizmann.mirror}

__all__ = ["MIRRORS", "READERS", "hapt", "jhmdb", "mnist", "piano_rolls", "salads", "ut_interaction", "weizmann"]
