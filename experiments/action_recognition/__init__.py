"""Actions in videos, poses and sensor signals: `python -m experiments.action_recognition train | evaluate | predict | stream`."""
