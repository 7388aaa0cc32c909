"""Translation learned from pairs: `python -m experiments.translation train | translate | evaluate | score | attention`."""
