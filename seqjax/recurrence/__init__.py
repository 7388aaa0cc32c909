"""Running a cell over a sequence: one `unroll`, and the backends behind it."""
