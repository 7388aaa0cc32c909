"""A search as a value: a method and its options."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Unpack, get_args

import jax
import numpy as np

from seqjax.annotations import public
from seqjax.checks import check_choice, check_integers, check_positive, check_weights
from seqjax.contracts import Decoder
from seqjax.decode.beam_search import beam, check_width
from seqjax.decode.constraints import Constraints
from seqjax.decode.decoder import Decoded
from seqjax.decode.sampling import check_draw, greedy, sample, stream
from seqjax.errors import InputError
from seqjax.noise import key_of
from seqjax.types import Params
from seqjax.values import Value

Method = Literal["greedy", "sample", "beam", "mbr"]
WIDEST = 2**20  # outputs of a row
_DRAW = ("temperature", "top_k", "top_p", "min_p", "typical_p")
_METHODS_OF = {  # the methods that read an option; the other options hold for all
    **dict.fromkeys(("beam", "length_penalty", "coverage_penalty", "groups", "diversity", "early_stop"), ("beam",)),
    **dict.fromkeys((*_DRAW, "seed"), ("sample", "mbr")),
    "samples": ("mbr",),
}


@dataclasses.dataclass(frozen=True)
class Search(Value):
    """A search method with its options; a call runs it. Experiments use it as a group of command-line flags.

    Args:
        method: "greedy", "sample" or "beam", the functions of `seqjax.decode` with these names; or "mbr", minimum Bayes
            risk: of several draws, the one most like the others.
        beam: width of beam search. Width 1 with early_stop and without a coverage penalty is greedy.
        length_penalty, coverage_penalty, groups, diversity, early_stop: options of `beam`.
        samples: the number of draws for mbr, at least 1.
        temperature, top_k, top_p, min_p, typical_p: options of `sample`, for sample and mbr.
        seed: the seed of sample and mbr; draw n of a row comes from split(key(seed), draws)[n].
        min_length: the least number of symbols, the end included; 0: no limit.
        max_length: the greatest number of symbols, the end included; None: the caller's limit.
        no_repeat_ngram: n; no sequence of n symbols occurs twice in an output; 0: no limit.
        repetition_penalty: the log-probability of a symbol that the output holds already is multiplied by it; 1: none.
        unknown_penalty: subtracted from the log-probability of the unknown symbol; for `texts`.
        unknown: for `texts`: show an unknown symbol as a mark, or replace it by the source word with the most attention.

    Raises:
        InputError: a value out of its range, or an option that the method does not read and that is not at its default.

    Example:
        >>> import jax.numpy as jnp
        >>> from seqjax.cells.gru import GRU
        >>> from seqjax.models.language_model import LanguageModel
        >>> model = LanguageModel(vocabulary_size=5, cell=GRU(input_size=5, hidden_size=8))
        >>> prompts = {"tokens": jnp.array([[1, 2], [3, 0]]), "tokens_lengths": jnp.array([2, 1])}
        >>> search = Search(method="sample", temperature=0.5, max_length=7)
        >>> search(model, model.init(jax.random.key(0)), prompts, n_best=3).tokens.shape
        (2, 3, 7)
        >>> Search(method="greedy", top_k=3)
        Traceback (most recent call last):
        seqjax.errors.InputError: top_k is 3 and does nothing under method greedy: give method sample or mbr, or top_k None

    Wu et al. 2016 (penalties); Vijayakumar et al. 2016 (groups); Eikema, Aziz 2020 (mbr).
    """

    method: Method = "beam"  # mbr: of `samples` draws, the one most like the others
    beam: int = 5  # hypotheses kept at every step; 1: greedy
    length_penalty: float = 1.0  # alpha of Wu et al. 2016; 0: none
    coverage_penalty: float = 0.0  # beta of Wu et al. 2016
    groups: int = 1  # of diverse beam search; divides beam
    diversity: float = 0.5  # between groups
    early_stop: bool = True  # stop when no beam is better now, though the length penalty could favour one later
    samples: int = 16  # for mbr
    temperature: float = 1.0  # for sample and mbr, as are the next five
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    seed: int = 0
    min_length: int = 0  # symbols at least, the end counted
    max_length: int | None = None  # symbols at most, the end counted; None: by the lengths of the training pairs
    no_repeat_ngram: int = 0  # n: no sequence of n symbols occurs twice in an output; 0: no limit
    repetition_penalty: float = 1.0  # multiplies the log-probability of a symbol that the output holds already; 1: none
    unknown_penalty: float = 0.0  # subtracted from the log-probability of the unknown symbol
    unknown: Literal["mark", "copy"] = "mark"  # unknown symbols: shown as a mark, or the source word with the most attention

    def __post_init__(self):
        check_choice(self, get_args(Method), method=self.method)
        check_choice(self, ("mark", "copy"), unknown=self.unknown)
        check_width(self.groups, beam=self.beam)
        check_weights(length_penalty=self.length_penalty, coverage_penalty=self.coverage_penalty, diversity=self.diversity)
        check_positive(samples=self.samples)
        for name in ("beam", "samples"):
            if getattr(self, name) > WIDEST:
                raise InputError(f"{name} is {getattr(self, name)}, it must be at most {WIDEST}")
        check_draw(**self._draw)
        check_integers(seed=self.seed)
        if self.max_length is not None:
            check_positive(max_length=self.max_length)
        for name in ("min_length", "no_repeat_ngram"):
            check_integers(**{name: getattr(self, name)})
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}, it must be at least 0 (0: no such limit)")
        if not 0 < self.repetition_penalty < np.inf:
            raise InputError(f"repetition_penalty is {self.repetition_penalty}, it must be above 0 and finite (1: none)")
        if not abs(self.unknown_penalty) < np.inf:
            raise InputError(f"unknown_penalty is {self.unknown_penalty}, it must be finite")
        for field in dataclasses.fields(self):
            value, methods = getattr(self, field.name), _METHODS_OF.get(field.name, (self.method,))
            if self.method not in methods and value != field.default:
                problem = f"{field.name} is {value} and does nothing under method {self.method}"
                raise InputError(f"{problem}: give method {' or '.join(methods)}, or {field.name} {field.default}")

    @property
    def is_greedy(self) -> bool:
        """True if the search takes the likeliest symbol at every step."""
        narrow = self.beam == self.groups == 1 and self.early_stop and not self.coverage_penalty
        return self.method == "greedy" or (self.method == "beam" and narrow)

    def as_greedy(self) -> "Search":
        """The greedy search under the same limits, e.g. for evaluations during training."""
        limits = ("min_length", "max_length", "no_repeat_ngram", "repetition_penalty", "unknown_penalty", "unknown")
        return Search(method="greedy", **{name: getattr(self, name) for name in limits})

    @public
    def __call__(
        self,
        model: Decoder,
        params: Params,
        batch: dict,
        *,
        max_length: int | None = None,
        end: int | Sequence[int] | None = None,
        n_best: int = 1,
        **constraints: Unpack[Constraints],
    ) -> Decoded:
        """Search for the outputs of a batch.

        Args:
            model: a decoder.
            params: the model's parameters.
            batch: read by the model's `start`.
            max_length: L, if the search has no max_length of its own.
            end: the symbol that ends an output, or several such symbols; None: all have L symbols.
            n_best: N, outputs of a row: at most `beam` of a beam search, 1 of a greedy one, any number of draws.
            **constraints: further ones, see `Constraints`.

        Returns:
            Decoded: tokens [B, N, L], lengths [B, N], scores [B, N]; best first, but samples as they were drawn. For
            mbr N is `samples`: all draws, for `minimum_bayes_risk` to choose among.

        Raises:
            InputError: no max_length, an n_best out of its range, no attention where it is needed, or the model's own errors.
        """
        limits: dict[str, Any] = {**self._limits(max_length, end), **constraints}
        if self.method in ("sample", "mbr"):
            check_positive(n_best=n_best)
            draws = n_best if self.method == "sample" else self.samples
            return sample(model, params, batch, key=key_of(self.seed), samples=draws, **self._draw, **limits)
        if self.is_greedy and n_best == 1:
            return _as_best(greedy(model, params, batch, **limits))
        if self.method == "greedy":
            raise InputError(f"n_best is {n_best}, it must be 1: a greedy search has one output, give method beam")
        check_width(self.groups, n_best, beam=self.beam)
        names = ("length_penalty", "coverage_penalty", "groups", "diversity", "early_stop")
        options: dict[str, Any] = {name: getattr(self, name) for name in names}
        return beam(model, params, batch, width=self.beam, n_best=n_best, **options, **limits)

    @public
    def stream(
        self,
        model: Decoder,
        params: Params,
        batch: dict,
        *,
        max_length: int | None = None,
        end: int | Sequence[int] | None = None,
        **constraints: Unpack[Constraints],
    ) -> Iterator[np.ndarray]:
        """The symbols of a greedy search, or of the first draw, each as soon as it is chosen.

        Args:
            model, params, batch, max_length, end, **constraints: as for a call.

        Returns:
            An iterator of int32 arrays [B].

        Raises:
            InputError: the search does not choose one symbol after another, or any error of a call.
        """
        self.check_streams()
        draw: dict[str, Any] = self._draw if self.method == "sample" else {"temperature": 0.0}
        key = jax.random.split(key_of(self.seed), 1)[0]
        limits: dict[str, Any] = {**self._limits(max_length, end), **constraints}
        return stream(model, params, batch, key=key, **draw, **limits)

    def check_streams(self) -> None:
        """Raise InputError unless the search chooses one symbol after another: greedy, or sample."""
        if self.method != "sample" and not self.is_greedy:
            name = f"{self.method} of width {self.beam}" if self.method == "beam" else self.method
            name += " with a coverage_penalty" if self.coverage_penalty else ""
            name += "" if self.early_stop else " without early_stop"
            raise InputError(f"method {name} does not choose one symbol after another: to stream, give method greedy or sample")

    @property
    def _draw(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _DRAW}

    def _limits(self, max_length: int | None, end: int | Sequence[int] | None) -> dict[str, Any]:
        length = max_length if self.max_length is None else self.max_length
        if length is None:
            raise InputError("max_length is None: give the most symbols that an output may have")
        limits = {name: getattr(self, name) for name in ("min_length", "no_repeat_ngram") if getattr(self, name)}
        if self.repetition_penalty != 1:
            limits["repetition_penalty"] = self.repetition_penalty
        return {"max_length": length, "end": end} | limits


@jax.jit
def _as_best(decoded: Decoded) -> Decoded:
    """Each row's output as the best of one: leaves [B, ...] to [B, 1, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, None], decoded)
