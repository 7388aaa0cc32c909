"""A small recurrent model and an endless stream, so that training is tested on its own."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import seqjax.serial
from seqjax.contracts import Model
from seqjax.losses import cross_entropy
from seqjax.noise import Noise, reseed
from seqjax.train.checkpoint import Checkpoints
from seqjax.train.evaluation import evaluate, make_eval_step
from seqjax.train.loop import LoopConfig, train_loop
from seqjax.train.mesh import shard
from seqjax.train.optim import OptimizerConfig, make_optimizer
from seqjax.train.resuming import resume
from seqjax.train.runs.folder import RunFolder
from seqjax.train.state import init_state
from seqjax.train.step import make_train_step

SYMBOLS = 5


class Carry(NamedTuple):
    h: jax.Array
    noise: Noise


@seqjax.serial.register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(Model):
    """h = tanh(h R + E[token]), logits = dropout(h) W; a batch with "scale" multiplies the logits by it."""

    hidden: int = 4
    rate: float = 0.25
    dtype: str = "float32"

    def init(self, key):
        keys = jax.random.split(key, 3)
        shapes = {"embedding": (SYMBOLS, self.hidden), "recurrent": (self.hidden, self.hidden), "out": (self.hidden, SYMBOLS)}
        return {"net": {n: 0.3 * jax.random.normal(k, s, self.dtype) for k, (n, s) in zip(keys, shapes.items(), strict=True)}}

    def initial_state(self, params, batch_size):
        return Carry(jnp.zeros((batch_size, self.hidden), self.dtype), Noise.off((batch_size,)))

    def apply(self, params, batch, *, state=None, key=None):
        net = params["net"]
        state = self.initial_state(params, batch["tokens"].shape[0]) if state is None else state
        state = state if key is None else reseed(state, key)

        def keep(key, count):
            return jax.random.bernoulli(jax.random.fold_in(key, count), 1 - self.rate, (self.hidden,))

        def step(carry, token):
            h = jnp.tanh(carry.h @ net["recurrent"] + net["embedding"][token])
            y = h
            if carry.noise.key is not None:
                y = jnp.where(jax.vmap(keep)(carry.noise.key, carry.noise.count), h, jnp.zeros_like(h))
            return Carry(h, carry.noise.advance()), y @ net["out"]

        state, logits = jax.lax.scan(step, state, batch["tokens"].T)
        return state, jnp.swapaxes(logits, 0, 1) * batch["scale"].astype(self.dtype)[:, None, None]

    def loss(self, outputs, batch):
        return cross_entropy(outputs, batch["target"], batch["mask"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyStream:
    """Batch n is a function of n: counting modulo SYMBOLS, with random masks; its logits are NaN in `bad` batches."""

    rows: int = 8
    length: int = 6
    bad: tuple[int, ...] = ()
    steps_per_epoch: int = 10

    @property
    def identity(self):
        return {"rows": self.rows, "length": self.length}

    def batch(self, n):
        draw = np.random.default_rng(n)
        start = draw.integers(SYMBOLS, size=(self.rows, 1))
        tokens = (start + np.arange(self.length + 1)) % SYMBOLS
        lengths = draw.integers(1, self.length + 1, size=(self.rows, 1))
        scale = np.full((self.rows,), np.nan if n in self.bad else 1.0)
        mask = np.arange(self.length) < lengths
        tokens = tokens.astype(np.int32)
        return {"tokens": tokens[:, :-1], "target": tokens[:, 1:], "mask": mask, "scale": scale.astype(np.float32)}

    def __iter__(self):
        return ToyIterator(self)


class ToyIterator:
    def __init__(self, stream):
        self.stream, self.next_index = stream, 0

    def __iter__(self):
        return self

    def __next__(self):
        self.next_index += 1
        return self.stream.batch(self.next_index - 1)

    def get_state(self):
        return {"next_index": self.next_index}

    def set_state(self, state):
        self.next_index = state["next_index"]


class Bench:
    """A toy run, with all the parts of an experiment."""

    def __init__(self, *, model=None, stream=None, mesh=None, optimizer=None, loss_scale="mean", dtype=None):
        self.model, self.stream, self.mesh = model or Toy(), stream or ToyStream(), mesh
        config = optimizer or OptimizerConfig(learning_rate=0.03, clip_norm=1.0)
        self.optimizer = make_optimizer(config, steps=100, steps_per_epoch=self.stream.steps_per_epoch)
        options = {"loss_scale": loss_scale, "accumulate": config.accumulate, "dtype": dtype}
        self.step = make_train_step(self.model, self.optimizer, mesh=mesh, **options)
        self.eval_step = make_eval_step(self.model, mesh=mesh)

    def state(self, **options):
        return init_state(self.model, self.optimizer, batch_size=self.stream.rows, seed=3, mesh=self.mesh, **options)

    def evaluate(self, params):
        return evaluate(self.eval_step, self.model, params, [self.stream.batch(10**6 + n) for n in range(2)])

    def losses(self, steps, state=None):
        """The mean loss of each step up to `steps`, and the parameters after the last."""
        state, losses = self.state() if state is None else state, []
        for n in range(int(state.step), steps):
            before = jax.device_get(state.loss)
            state = self.step(state, self.stream.batch(n) if self.mesh is None else shard(self.mesh, self.stream.batch(n)))
            after = jax.device_get(state.loss)
            losses.append(float((after.sum - before.sum) / (after.weight - before.weight)))
        return losses, jax.device_get(state.params)

    def train(self, folder, *, on_event=lambda event: None, evaluate=None, keep=1, monitor="loss", best="lowest", **config):
        """Starts a run in `folder`, or resumes the one there; returns (events, final state on the host)."""
        config = LoopConfig(**{"steps": 12, "log_every": 4, "eval_every": 5, "save_every": 3} | config)
        new = not (folder / "metrics.jsonl").exists()
        run = RunFolder.create(str(folder), experiment="toy", preset="tiny") if new else RunFolder(folder)
        state, position, events = self.state(), None, []
        with Checkpoints(run.checkpoints, keep=keep) as checkpoints:
            if not new:
                state, position = resume(checkpoints, state, self.stream, run)
            options = {"mesh": self.mesh, "run": run, "checkpoints": checkpoints, "evaluate": evaluate or self.evaluate}
            options |= {"monitor": monitor, "best": best}
            for event in train_loop(state, self.step, self.stream, config, position=position, **options):
                on_event(event)
                final = jax.device_get(event.state._replace(key=jax.random.key_data(event.state.key)))
                events.append(event._replace(state=None))
        return events, jax.tree.map(np.array, final)
