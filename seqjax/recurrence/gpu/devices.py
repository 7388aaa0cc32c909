"""Where kernels made for one NVIDIA GPU may run."""

import jax


def no_nvidia_gpu() -> str | None:
    """Why there is no NVIDIA GPU that jitted work runs on by default; None: there is one."""
    if jax.default_backend() == "gpu" and "cuda" in jax.devices()[0].client.platform_version.lower():
        return None
    return "it is for NVIDIA GPUs"


def many_devices() -> str | None:
    """Why a kernel is not taken unasked where there are several devices; None: there is one."""
    if jax.device_count() == 1:
        return None
    return "XLA cannot split its kernels over devices: ask for it by name, inside jax.shard_map"


def on_nvidia(kernel, plain, *arguments):
    """`kernel(*arguments)` where this comes to run on an NVIDIA GPU, `plain(*arguments)` where not.

    Only the compiler knows: arguments may lie on another device than the default.
    """
    return jax.lax.platform_dependent(*arguments, cuda=kernel, default=plain)
