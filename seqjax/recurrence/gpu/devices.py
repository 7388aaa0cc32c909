"""The devices on which kernels made for one NVIDIA GPU may run."""

import jax


def no_nvidia_gpu() -> str | None:
    """The reason why jitted work does not run on an NVIDIA GPU by default; None if it does."""
    if jax.default_backend() == "gpu" and "cuda" in jax.devices()[0].client.platform_version.lower():
        return None
    return "it is for NVIDIA GPUs"


def many_devices() -> str | None:
    """The reason not to choose a kernel unless it is asked for by name: several devices; None if there is one."""
    if jax.device_count() == 1:
        return None
    return "XLA cannot split its kernels over devices"


def on_nvidia(kernel, plain, *arguments):
    """`kernel(*arguments)` if the program runs on an NVIDIA GPU, else `plain(*arguments)`.

    The compiler decides, since arguments may lie on another device than the default.
    """
    return jax.lax.platform_dependent(*arguments, cuda=kernel, default=plain)
