"""The matrix product of cells: the forms for few rows agree with the plain product, in value and in every derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from seqjax import thresholds
from seqjax.products import product

# In blocks and as outer products, the last as outer products alone.
SHAPES = [(2, 256, 512), (8, 512, 256), (3, 160, 128)]


def operands(rows, size, out):
    random = np.random.default_rng(0)
    h, kernel, weights = (random.standard_normal(shape, np.float32) for shape in [(rows, size), (size, out), (rows, out)])
    return jnp.asarray(h), jnp.asarray(kernel / size**0.5), jnp.asarray(weights)


def plain(h, kernel):
    return h @ kernel


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_derivatives_are_those_of_the_plain_product(shape):
    h, kernel, weights = operands(*shape)

    def loss(dot, h, kernel):
        return jnp.sum(jnp.tanh(dot(h, kernel)) * weights)

    def everything(dot):
        def gradient(h, kernel):
            return jax.grad(lambda *a: loss(dot, *a), argnums=(0, 1))(h, kernel)

        alone = jax.grad(lambda h: loss(dot, h, kernel))(h)  # the kernel is not differentiated
        return dot(h, kernel), gradient(h, kernel), alone, jax.jvp(gradient, (h, kernel), (h, kernel))[1]

    for a, b in zip(*(jax.tree.leaves(jax.jit(everything, static_argnums=0)(dot)) for dot in (product, plain)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * float(jnp.abs(b).max()))


def test_rows_may_have_several_axes_and_be_mapped():
    h, kernel, _ = operands(8, 256, 512)
    np.testing.assert_allclose(product(h.reshape(2, 4, 256), kernel), plain(h, kernel).reshape(2, 4, 512), atol=1e-5)
    gradients = jax.jit(jax.vmap(jax.grad(lambda kernel, h: jnp.sum(product(h, kernel) ** 2)), (None, 0)))
    expected = jax.vmap(jax.grad(lambda kernel, h: jnp.sum(plain(h, kernel) ** 2)), (None, 0))
    a, b = (f(kernel, h.reshape(2, 4, 256)) for f in (gradients, expected))
    np.testing.assert_allclose(a, b, atol=2e-5 * float(jnp.abs(b).max()))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="thresholds of a CPU")
def test_few_rows_are_multiplied_by_one_core_and_added_in_one_pass():
    """XLA divides a product between cores from 65,536 entries of a kernel on."""
    h, kernel, _ = operands(8, 256, 512)
    assert thresholds.contraction_blocks(8, kernel) == 2
    assert thresholds.contraction_blocks(9, kernel) == thresholds.contraction_blocks(1, kernel) == 1
    kernels = [eqn.invars[1].aval.shape for eqn in equations(jax.make_jaxpr(product)(h, kernel).jaxpr, "dot_general")]
    assert kernels == [(2, 128, 512)]
    assert np.prod(kernels[0][1:]) <= 2**16

    def gradient(kernel, h):
        return jax.grad(lambda kernel: jnp.sum(product(h, kernel)))(kernel)

    products = equations(jax.make_jaxpr(gradient)(kernel, h).jaxpr, "dot_general")
    assert (256, 512) not in [eqn.outvars[0].aval.shape for eqn in products]


def equations(jaxpr, name):
    """The equations of a primitive in a program and in those inside it."""
    here = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == name]
    return here + [e for eqn in jaxpr.eqns for inner in jaxprs_in_params(eqn.params) for e in equations(inner, name)]
