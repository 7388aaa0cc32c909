"""Every decoder obeys the laws of decoders, and a broken one is caught."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import GRU, LSTM, decode
from seqjax.attention import Attentive, General
from seqjax.models import Features, LanguageModel, Seq2Seq, Symbols
from seqjax.testing import check_decoder

V, START, PAD = 6, 1, 0
GRU_2 = GRU(input_size=2, hidden_size=3)
SIZES = {"target_size": V, "embedding_size": 2, "start_symbol": START, "forbidden": (PAD,)}
ATTENTIVE = Attentive(cell=GRU_2, attention=General(query_size=3, memory_size=3), output_size=2)
TOKENS = jnp.array([[2, 3, 4], [5, 2, 0], [3, 0, 0]])
LENGTHS = jnp.array([3, 2, 1])
PROMPTS = {"tokens": TOKENS, "tokens_lengths": LENGTHS}
SOURCES = {"source": TOKENS, "source_lengths": LENGTHS}
IMAGES = {
    "features": jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 2, 3)), jnp.float32),
    "features_lengths": jnp.array([4, 3, 1]),
}
MODELS = {
    "language_model": LanguageModel(
        vocabulary_size=V, cell=LSTM(input_size=2, hidden_size=3), embedding_size=2, start_symbol=START, forbidden=(PAD,)
    ),
    "one_hot": LanguageModel(vocabulary_size=V, cell=GRU(input_size=V, hidden_size=3), start_symbol=START, forbidden=(PAD,)),
    "plain": Seq2Seq(encoder=Symbols(size=V, embedding_size=2, cell=GRU_2), decoder=GRU_2, **SIZES),
    "attentive": Seq2Seq(encoder=Symbols(size=V, embedding_size=2, cell=GRU_2), decoder=ATTENTIVE, tied="target", **SIZES),
    "image": Seq2Seq(encoder=Features(size=3), decoder=ATTENTIVE, **SIZES),
}
MODELS["ensemble"] = decode.Ensemble((MODELS["attentive"], MODELS["plain"], MODELS["attentive"]))


def case(name):
    """(decoder, params, batch) of a model."""
    model = MODELS[name]
    batch = {"language_model": PROMPTS, "one_hot": PROMPTS, "image": IMAGES}.get(name, SOURCES)
    members = model.models if isinstance(model, decode.Ensemble) else (model,)
    params = tuple(jax.jit(member.init)(jax.random.key(seed)) for seed, member in enumerate(members))
    return model, params if isinstance(model, decode.Ensemble) else params[0], batch


def whole(model):
    """The logits of a Seq2Seq or LanguageModel in one pass, as `check_decoder` asks for them; None for an ensemble."""
    if isinstance(model, decode.Ensemble):
        return None

    def of_target(params, batch, tokens):  # apply shifts the target by the start symbol
        target = jnp.pad(tokens[:, 1:], ((0, 0), (0, 1)))
        lengths = jnp.full(len(tokens), tokens.shape[1])
        return model.apply(params, batch | {"target": target, "target_lengths": lengths})[1].logits

    def of_text(params, batch, tokens):
        """A row for each prompt: the start symbol, the prompt, and the symbols after it."""
        logits = []
        for row, length in enumerate(batch["tokens_lengths"].tolist()):
            text = [START, *batch["tokens"][row, :length].tolist(), *tokens[row, 1:].tolist()]
            logits.append(model.apply(params, {"tokens": jnp.array([text])})[1][0, length:])
        return jnp.stack(logits)

    return of_text if isinstance(model, LanguageModel) else of_target


@pytest.mark.parametrize("name", MODELS)
def test_laws(name):
    model, params, batch = case(name)
    check_decoder(model, params, batch, never=(START, PAD), whole=whole(model))


@dataclasses.dataclass(frozen=True)
class Broken:
    """The attentive model with one fault."""

    fault: str
    model: Seq2Seq = MODELS["attentive"]
    attends = True

    def start(self, params, batch):
        if self.fault == "padding":
            batch = batch | {"source_lengths": jnp.full(3, 3)[: len(batch["source"])]}
        memory, state, token = self.model.start(params, batch)
        match self.fault:
            case "token":
                token = token.astype(jnp.float32)
            case "number":
                token = START
            case "leaf":
                state = (state, jnp.zeros(()))
        return memory, state, token

    def step(self, params, memory, state, token):
        return self.attend(params, memory, state, token)[:2]

    def attend(self, params, memory, state, token):
        new, logits, weights = self.model.attend(params, memory, state, token.astype(jnp.int32))
        match self.fault:
            case "state":
                new = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), new)
            case "axis":
                logits = logits[:, None]
            case "weights":
                weights = weights + 0.3
            case "places":
                weights = weights[:, 1:]
            case "narrow":
                logits = logits.astype(jnp.bfloat16)
            case "nan":
                logits = logits.at[0, 2].set(jnp.nan)
            case "never":
                logits = jnp.where(jnp.isneginf(logits), -1e9, logits)
            case "impossible":
                logits = jnp.full_like(logits, -jnp.inf)
            case "rows":
                logits = logits + logits[:, 2:].mean()
            case "whole":
                logits = logits * 1.01
        return new, logits, weights

    def attended(self, memory):
        mask = self.model.attended(memory)
        return mask.astype(jnp.int32) if self.fault == "mask" else mask & (self.fault != "attended")


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("token", "shapes: Broken.start returns the token float32.3., it must be integers"),
        ("number", "shapes: Broken.start returns the token int 1, it must be integers"),
        ("leaf", "shapes: Broken.start returns state.1. float32.., with 3 rows it must be .3, ...."),
        ("state", "shapes: Broken.step returns state.* bfloat16.3, 3., it was given float32"),
        ("axis", "shapes: Broken.step returns logits float32.3, 1, 6., with 3 rows they must be .3, V."),
        ("places", "shapes: Broken.attended returns bool.3, 3., for these weights it must be bool .3, 2."),
        ("narrow", "shapes: logits are bfloat16"),
        ("nan", "logits: some are NaN"),
        ("never", "logits: symbol 1 is never emitted"),
        ("impossible", "logits: no symbol is possible"),
        ("rows", "rows: row 0 alone"),
        ("padding", "padding: logits where padding holds NaN or another symbol"),
        ("weights", "attention: weights are negative, or sum to more than 1"),
        ("attended", "attention: weights are above 0 at places that are not attended to"),
        ("mask", "shapes: Broken.attended returns int32"),
        ("whole", "whole: steps against one pass"),
    ],
)
def test_a_broken_decoder_is_caught(fault, line):
    model, params, batch = case("attentive")
    with pytest.raises(AssertionError, match=line):
        check_decoder(Broken(fault), params, batch, never=(START, PAD), whole=whole(model))


def test_a_decoder_that_is_no_value_is_caught():
    class Loose:
        attends = False

    with pytest.raises(AssertionError, match="value: a copy is not equal"):
        check_decoder(Loose(), {}, {})
