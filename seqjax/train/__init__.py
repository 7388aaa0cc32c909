"""Training: optimizers, a donated state, jitted steps over devices, checkpoints, run folders, and a loop that stays visible."""
