"""Measured sizes from which one way of computing is faster than another.

Computing z = x W for all steps at once is one large product, but z is then written to memory and read back. Without a
derivative z is not needed again, and once z is larger than the caches, a product at every step costs less, as long as W stays
in them. (T, B, D, H; 2 cores with 32 MB of cache, float32; time with z computed before the loop divided by time with x W
inside.)

    LSTM   200,128,64,128   z  52 MB, W 0.1 MB   1.51        GRU   200,128,64,128   z 39 MB, W 0.1 MB   1.63
           1000,32,128,256  z 131 MB, W 0.5 MB   1.39              1000,32,128,256  z 98 MB, W 0.4 MB   1.25
           100,64,64,512    z  52 MB, W 0.5 MB   1.16              100,64,64,512    z 39 MB, W 0.4 MB   1.15
           50,100,128,256   z  20 MB, W 0.5 MB   1.08              50,100,128,256   z 15 MB, W 0.4 MB   1.11
           300,16,256,256   z  20 MB, W 1.0 MB   1.03              300,16,256,256   z 15 MB, W 0.8 MB   1.02
           100,64,512,512   z  52 MB, W 4.2 MB   0.95              100,64,512,512   z 39 MB, W 3.1 MB   1.07
           400,8,256,1024   z  52 MB, W 4.2 MB   0.90              400,8,256,1024   z 39 MB, W 3.1 MB   1.07

A product of few rows is bound by reading W, which one product over all steps reads once: the fewer the rows, the larger z must
be. The suite `layouts` of the benchmark measures every choice beside the others.

    LSTM   2000,2,128,256   z  16 MB, W 0.5 MB   0.57        GRU   2000,2,128,256   z 12 MB, W 0.4 MB   0.71
           1000,4,128,256   z  16 MB, W 0.5 MB   0.60              800,8,128,256    z 20 MB, W 0.4 MB   0.96
           800,8,128,256    z  26 MB, W 0.5 MB   0.79              800,16,128,256   z 39 MB, W 0.4 MB   1.32
           4000,8,128,256   z 131 MB, W 0.5 MB   1.31              500,32,128,256   z 49 MB, W 0.4 MB   1.28
           400,16,128,256   z  26 MB, W 0.5 MB   0.99              100,128,128,256  z 39 MB, W 0.4 MB   1.47
           2000,12,128,256  z  98 MB, W 0.5 MB   1.32
           300,24,128,256   z  29 MB, W 0.5 MB   1.28
           20,256,128,256   z  21 MB, W 0.5 MB   1.09

Where z has several arrays, as a GRU's has, their products then run side by side (see `overlaps_products`). For many rows W may
be larger:

    GRU    400,12,128,256   z  15 MB, W 0.4 MB   1.34        LSTM   100,64,512,512   z 52 MB, W 4.2 MB   1.14
           400,12,256,256   z  15 MB, W 0.8 MB   1.08               50,128,512,512   z 52 MB, W 4.2 MB   1.20
           400,16,128,256   z  20 MB, W 0.4 MB   1.24               100,64,256,1024  z 105 MB, W 4.2 MB  1.10
           600,24,128,192   z  33 MB, W 0.3 MB   1.25               30,256,512,512   z 63 MB, W 4.2 MB   1.28
           300,16,200,200   z  12 MB, W 0.5 MB   0.88        GRU    100,64,512,512   z 39 MB, W 3.1 MB   1.15
           256,16,256,256   z  13 MB, W 0.8 MB   0.95               50,128,512,512   z 39 MB, W 3.1 MB   1.28
"""

import math
from typing import Any, NamedTuple

import jax

MB = 1_000_000


class Row(NamedTuple):
    """The sizes at which x W is computed inside the loop.

    Args:
        device: a name returned by `jax.default_backend()`.
        rows: least rows B of a step.
        zs: least bytes of z at all steps.
        kernel: most bytes of W.
        arrays: least number of arrays of z.
    """

    device: str
    rows: int
    zs: float
    kernel: float
    arrays: int = 1


INSIDE = (
    Row("cpu", rows=64, zs=12 * MB, kernel=4.3 * MB),
    Row("cpu", rows=24, zs=12 * MB, kernel=1.1 * MB),
    Row("cpu", rows=12, zs=14 * MB, kernel=1.1 * MB, arrays=2),
    Row("cpu", rows=12, zs=36 * MB, kernel=1.1 * MB),
    Row("cpu", rows=8, zs=96 * MB, kernel=1.1 * MB),
)

# Entries of an LSTM's z from which the bias is a row of the kernel. A smaller z stays in the caches, where an addition costs less
# than a kernel with an odd number of rows: the forward pass takes 10 to 15 % less time (CPU; no difference for a GRU).
LSTM_BIAS_ROW = 2**18

# Rows of an input for each row of its kernel from which the kernel is changed or cut before a product, rather than the result.
ROWS_PER_KERNEL_ROW = 4


def at_least(size: Any, least: Any) -> bool:
    """True if a size is known to be at least `least`: the one comparison by which a layout is chosen.

    A size may be an expression in symbols, under `jax.export`. It then counts as small, whatever the symbols will be: no choice
    of a layout changes a result.

    Args:
        size: an int, or a size made of symbolic dimensions.
        least: a number, or another size.

    Example:
        >>> from jax import export
        >>> (rows,) = export.symbolic_shape("rows")
        >>> at_least(300, 256), at_least(300 * rows, 256)
        (True, False)
    """
    return isinstance(size, int) and isinstance(least, int | float) and size >= least


def projected_inside(xs, zs) -> str | None:
    """The reason to compute x W inside a loop that is not differentiated; None: compute it before the loop.

    Args:
        xs: [B, T, ...], an array or its shape and dtype.
        zs: the cell's projection of xs, a pytree of arrays or shapes.

    Returns:
        A clause, or None.

    Example:
        >>> xs, zs = jax.ShapeDtypeStruct((64, 100, 64), "float32"), jax.ShapeDtypeStruct((64, 100, 2048), "float32")
        >>> projected_inside(xs, zs) if jax.default_backend() == "cpu" else "z would be 52 MB"
        'z would be 52 MB'
    """
    if len(xs.shape) != 3:
        return None  # not measured: tokens (rows are looked up) and frames
    leaves = jax.tree.leaves(zs)
    size = sum(z.size * z.dtype.itemsize for z in leaves)
    kernel = xs.shape[2] * sum(math.prod(z.shape[2:]) * z.dtype.itemsize for z in leaves)
    for row in INSIDE:
        large = at_least(size, row.zs) and at_least(xs.shape[0], row.rows) and kernel <= row.kernel
        if large and len(leaves) >= row.arrays and row.device == jax.default_backend():
            return f"z would be {size / MB:.0f} MB"
    return None


def trains_inside(params, xs, zs) -> bool:
    """True if, where `projected_inside` holds, x W is computed inside the loop in training too.

    z and its cotangent are then never written to memory: each step of the backward loop adds to the gradients of W and of the
    recurrent kernel, which pays for many rows. (T, B, D, H; training step of an LSTM with z before the loop divided by that
    with all of it inside; 2 cores, float32.)

        60,256,128,256   1.06    100,100,100,200   1.14    128,128,128,128  0.98
        50,100,128,256   1.12    30,512,128,128    1.14    128,32,128,128   0.63
        200,64,128,256   1.10    100,64,64,512     1.02

    A z of several arrays, such as a GRU's, is not only added to products, and is computed before the loop: 0.87 to 1.06. So is
    that of a W of 3 to 4 MB: 0.89 to 0.98.

    Args:
        params: the cell's parameters, arrays or their shapes and dtypes.
        xs: [B, T, ...], an array or its shape and dtype.
        zs: the cell's projection of xs, a pytree of arrays or shapes.
    """
    leaves = jax.tree.leaves(zs)
    measured = len(leaves) == 1 and all(a.dtype == "float32" for a in jax.tree.leaves((params, xs)))
    if not measured or not overlaps_products(xs.shape[0], trained=True):
        return False
    return xs.shape[2] * math.prod(leaves[0].shape[2:]) * leaves[0].dtype.itemsize <= 1.1 * MB


def overlaps_products(rows: Any, *, trained: bool) -> bool:
    """True if the products of a step run faster side by side than one after another.

    XLA computes a product of many rows on all cores, but a core that has finished its part of one waits for the others. A loop
    of more than eight operations runs those that do not depend on each other side by side, which costs more for few rows.
    Forward pass of a GRU that projects inside, in milliseconds (2 cores, float32), one after another and side by side:
    50,100,128,256 22.1 and 17.3; 60,256,128,256 59 and 51; 100,64,64,512 67 and 59; 300,32,128,256 71 and 49.

    Args:
        rows: of the products' left operands.
        trained: True for a loop that adds up gradients of kernels too, which takes more rows to pay.

    Example:
        >>> overlaps_products(1, trained=False)
        False
    """
    return jax.default_backend() == "cpu" and at_least(rows, 64 if trained else 12)


def sums_in_loop(rows: Any, kernel) -> bool:
    """True if the gradient of a recurrent kernel is added up faster in the backward loop than computed as one product after it.

    The products of a step find h and dz in the caches, and read and write the sum; one product reads all h and dz from memory.
    Training step of a GRU with one product divided by that with sums (T, B, D, H; 2 cores, float32):

        50,100,128,256   1.19    200,64,128,256    1.00    128,128,128,128  0.90
        60,256,128,256   1.07    100,100,100,200   1.01    50,128,256,512   0.99
                                                           100,64,64,512    0.98

    Args:
        rows: of h.
        kernel: [K, M], the kernel whose gradient it is: an array or its shape and dtype.

    Example:
        >>> sums_in_loop(1, jax.numpy.zeros((256, 512)))
        False
    """
    fits = len(kernel.shape) == 2 and kernel.dtype == "float32" and at_least(kernel.size, 2**16) and at_least(2**17, kernel.size)
    return overlaps_products(rows, trained=True) and fits


def projects_table(symbols: int, rows: int) -> bool:
    """True if computing E W and looking up its rows is faster than multiplying every embedded symbol by W.

    The look-up takes fewer products and writes less, but its gradient adds up rows as wide as all gates: slower on a GPU, where
    products are cheap.

    Args:
        symbols: V, rows of the embedding E.
        rows: B T, the number of symbols that are read.

    Example:
        >>> projects_table(symbols=10_000, rows=700)
        False
    """
    return jax.default_backend() == "cpu" and at_least(rows, symbols)


def transposes_kernel(rows: Any, kernel) -> bool:
    """True if, in the gradient of a loop, dz kernel^T is faster with a kernel that is transposed before the loop.

    Time of a step with the kernel as it is, divided by that with a transposed one (2 cores, float32):

        kernel       2 rows     4     8    16    32    64   128
        128, 512       3.99  3.28  2.21  1.70  1.45  1.08  1.20
        256, 1024      3.86  2.95  2.12  1.55  1.25  0.99  0.99
        512, 1536      3.19  1.87  1.42  1.31  0.98  0.72  0.95
        650, 2600      1.47  1.40  1.12  0.78  0.80  0.97  0.67

    With one row both are a product of a matrix and a vector: 0.8 to 1.1.

    Args:
        rows: of the product's left operand.
        kernel: [K, M], an array or its shape and dtype.

    Example:
        >>> transposes_kernel(1, jax.numpy.eye(3))
        False
    """
    few = isinstance(rows, int) and 2 <= rows <= 32 and rows * math.prod(kernel.shape) * kernel.dtype.itemsize <= 64 * MB
    return jax.default_backend() == "cpu" and few


def contraction_blocks(rows: Any, kernel) -> int:
    """The number of blocks of the kernel's first axis over which a product of few rows is summed; 1: the product is not divided.

    XLA computes a product on all cores as soon as the kernel has more than 65,536 entries, whatever the rows, and for a few rows
    waking the other cores costs more than they save. Microseconds of a product in a loop as it is and in blocks (2 cores,
    float32):

        kernel       2 rows       4 rows       8 rows       16 rows
        128, 768                  14.8  7.6    27.0 15.9
        256, 512                  17.6 10.8    31.5 17.6
        512, 256                               27.2 16.5
        128, 1024                              32.5 22.0
        256, 1024    16.0 13.1    32.6 22.2    42.6 39.0    66 109
        512, 2048                              134  223

    In an LSTM's step of 8 rows with 1,024 columns, where the other product takes all cores anyway, blocks are slower.

    Args:
        rows: of the product's left operand.
        kernel: [K, M], an array or its shape and dtype.

    Example:
        >>> contraction_blocks(1, jax.numpy.zeros((256, 512)))
        1
    """
    sizes = (rows, *kernel.shape)
    if (
        jax.default_backend() != "cpu"
        or len(sizes) != 3
        or kernel.dtype != "float32"
        or not all(isinstance(n, int) for n in sizes)
    ):
        return 1
    blocks = 2 ** math.ceil(math.log2(max(1, kernel.size / 2**16)))
    few = 2 <= rows <= 8 and max(2 * rows, 3 * blocks) * kernel.shape[1] <= 3 * 2**12
    return blocks if few and kernel.shape[0] % blocks == 0 else 1


def adds_outer_products(rows: Any, kernel) -> bool:
    """True if h^T dz of few rows, added to a gradient at every step of a loop, is faster as a sum of outer products.

    XLA then adds it in one pass; a matrix product is written and read again. Microseconds of a step (2 cores, float32):

        kernel       2 rows     4 rows     8 rows
        256, 1024    90  27     148  40    126  84
        256, 512                            50  30
        128, 768                            36  26

    Args:
        rows: of h and dz.
        kernel: [K, M], the kernel whose gradient it is: an array or its shape and dtype.

    Example:
        >>> adds_outer_products(1, jax.numpy.zeros((256, 512)))
        False
    """
    few = isinstance(rows, int) and 2 <= rows <= 8 and len(kernel.shape) == 2 and kernel.dtype == "float32"
    return jax.default_backend() == "cpu" and few and at_least(kernel.size, 2**14)


def joins_products(rows: Any, kernels) -> bool:
    """True if, in a loop over steps, products of one row with several kernels are faster as one product with the joined kernel.

    XLA computes one large product of a row on all cores, each of which keeps its part of the kernel in its own cache. Several
    smaller ones run on one core, and read from the shared cache what is larger than its own. Microseconds of a step (2 cores with
    2 MB each, float32): kernels [512, 1024] and [512, 512] 101, joined 41; [512, 1024] twice 132, joined 52; [256, 512] twice
    12, joined 12.

    Args:
        rows: of the products' left operand.
        kernels: [K, M] each.

    Example:
        >>> joins_products(8, [jax.numpy.zeros((512, 1024))] * 2)
        False
    """
    sizes = [kernel.size * kernel.dtype.itemsize for kernel in kernels if len(kernel.shape) == 2]
    large = len(sizes) == len(kernels) and at_least(sum(sizes), 2**21)
    return jax.default_backend() == "cpu" and rows == 1 and large


def joins_products_forward(rows: Any, kernels) -> bool:
    """True if, in a loop that is not differentiated, products of the same rows are faster as one product with the joined kernel.

    One product costs less than several as long as one core computes it: XLA takes all cores for a kernel of more than 65,536
    entries. A training step is slower, as its backward loop would join the cotangents: 0.8 to 1.0. Forward pass of a GRU with two
    products divided by that with one (2 cores, float32):

        H      2 rows     4     8    16    32    64   128
        32                      1.50  1.24  1.06  1.02  1.02
        64       1.50        1.33  1.04  1.05  1.06  0.88
        128      1.31  1.24  1.05  0.94  0.99  0.98
        256      0.98  0.97  0.96                                one row: 0.99 to 1.05

    Args:
        rows: of the products' left operands.
        kernels: [K, M] each.

    Example:
        >>> joins_products_forward(1, [jax.numpy.zeros((64, 64))] * 2)
        False
    """
    if not isinstance(rows, int) or len(kernels) < 2 or len(kernels[0].shape) != 2:
        return False
    size = sum(kernel.size for kernel in kernels)
    few = rows >= 2 and at_least(2**16, size) and rows * size <= 3 * 2**17
    return jax.default_backend() == "cpu" and kernels[0].dtype == "float32" and few


def scan_method(steps: Any) -> str:
    """The method of `seqjax.linear_scan` that is fastest for a number of steps.

    A compiled loop on a CPU takes 5 to 90 nanoseconds a step for 1 to 64 units of one row, so that saving steps saves little: no
    number of steps was found from which another method is faster by more than the noise. Microseconds of one row, float32 (2
    cores, beside other work on them): T, units: loop, chunked, associative

        64, 4       10   12    11        4096, 4      31   72   125       16384, 1     67  118   105
        1024, 4     14   24    66        4096, 64    357  349  1032       16384, 4     94  249   347

    Whole cells are in the suite `linear` of the benchmark: of their training, the associative scan takes 1.1 to 2.0 times the
    loop's time, chunks 0.7 to 1.2 times. Other devices launch a kernel for every step; they were not measured.

    Args:
        steps: T.

    Example:
        >>> scan_method(1)
        'loop'
    """
    return "associative" if at_least(steps, 16) and jax.default_backend() != "cpu" else "loop"


def convolves_in_blocks(rows: Any, steps: Any) -> bool:
    """True if a diagonal system that is the same at every step is faster in blocks of sqrt(T) steps than by a loop.

    Milliseconds of an S4D of 64 features by a loop and in blocks (B, modes, T: forward, training; 2 cores, float32):

        8, 8, 64     0.61 0.76   3.7  1.6     8, 64, 256    9.5  6.7  162  16
        8, 8, 128    1.08 0.95   7.5  2.2     8, 64, 1024   46   19   825  55
        8, 8, 256    1.96 1.40  15.4  2.8     1, 8, 256    0.34 0.48  2.5  1.0
        8, 8, 1024    7.7  3.7   84   10      1, 8, 1024   1.18 1.12   13  1.9
        8, 8, 4096   31.6 13.9  338   39      32, 8, 64    1.90 1.71   18  3.9
        8, 64, 4096   161   49 2655  105

    Args:
        rows, steps: B and T.
    """
    return at_least(steps, 64) and at_least(rows * steps, 1024)


def makes_terms_inside(stored: int, projected: int) -> bool:
    """True if the terms of a linear recurrence are made inside a loop over the steps faster than they are stored and read back.

    Time by the stored terms divided by that of a loop over z (2 cores; suite `linear`): S4D of 8 modes, 16 times as many numbers
    stored as projected, forward 3.3 to 4.7, training 0.9 to 1.5; LRU and SRU, which store less, 0.3 to 0.7.

    Args:
        stored: numbers of each step's term and state.
        projected: numbers of each step's projection, from which the loop would make them.

    Example:
        >>> makes_terms_inside(128, 192)
        False
    """
    return jax.default_backend() == "cpu" and stored > 4 * projected
