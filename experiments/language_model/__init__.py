"""A recurrent language model of any text: `python -m experiments.language_model train | evaluate | sample | demo`."""
