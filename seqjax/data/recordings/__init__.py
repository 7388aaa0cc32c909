"""Readers of published recordings of actions, from their files as they come; each module has `load(folder)`."""

from seqjax.data.recordings import hapt, jhmdb, salads, ut_interaction, weizmann

READERS = {
    "hapt": hapt.load,
    "hapt_windows": hapt.load_windows,
    "jhmdb": jhmdb.load,
    "salads": salads.load,
    "ut_interaction": ut_interaction.load,
    "weizmann": weizmann.load,
}

__all__ = ["READERS", "hapt", "jhmdb", "salads", "ut_interaction", "weizmann"]
