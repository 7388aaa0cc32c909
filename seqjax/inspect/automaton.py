"""The finite automaton that a recurrent network has learned."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from seqjax.annotations import public
from seqjax.checks import check_array, check_integers, check_positive, check_values
from seqjax.drawing import new_figure, save_png
from seqjax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Automaton:
    """A Moore machine read off a network's states.

    Args:
        outputs: the symbol that each state prints, int [K].
        transitions: the state after each state and input, int [K, V]; -1 where none was seen.
        visits: the number of steps spent in each state, int [K].
        agreement: the share of all observed steps that the machine reproduces: the state entered and the symbol printed.
        members: the state at every real step, int [N, T]; -1 elsewhere.
    """

    outputs: np.ndarray
    transitions: np.ndarray
    visits: np.ndarray
    agreement: float
    members: np.ndarray


@public
def extract_automaton(states, inputs, outputs, *, mask=None, clusters: int = 12, seed: int = 0) -> Automaton:
    """The automaton of a network's states: clusters of states, merged where they are equivalent.

    States are clustered by k-means; a cluster prints what most of its members print, and an input leads to the cluster that most
    of its members enter. Clusters that print the same, and that every input leads to equivalent clusters, are merged (Moore).

    Args:
        states: floating, [N, T, H]: the network's state after each step.
        inputs: integer, [N, T]: the symbol read at each step.
        outputs: integer, [N, T]: the symbol printed after each step.
        mask: bool, [N, T], True at real steps, which come first; None: everywhere.
        clusters: the number of clusters; fewer, if there are fewer different states.
        seed: the seed of the first centres.

    Returns:
        The automaton; its most visited states come first.

    Raises:
        InputError: shapes that do not fit, a negative symbol or seed, no cluster, or no two steps in a row.

    Example:
        >>> inputs = np.random.default_rng(0).integers(0, 2, (20, 30))
        >>> parity = inputs.cumsum(axis=1) % 2  # two states, each printed
        >>> machine = extract_automaton(np.stack([parity, 1 - parity], axis=-1).astype(float), inputs, parity)
        >>> sorted(machine.outputs.tolist()), machine.agreement
        ([0, 1], 1.0)

    Giles et al. 1992; Omlin, Giles 1996.
    """
    states = np.asarray(check_array("states", states, "floating", "N", "T", "H"), np.float64)
    shape = states.shape[:2]
    inputs, outputs = (
        np.asarray(check_array(name, a, "integer", *shape)) for name, a in (("inputs", inputs), ("outputs", outputs))
    )
    real = np.ones(shape, np.bool_) if mask is None else np.asarray(check_array("mask", mask, "bool", *shape))
    check_positive(clusters=clusters)
    check_integers(seed=seed)
    if seed < 0:
        raise InputError(f"seed is {seed}, it must be at least 0")
    for name, symbols in (("inputs", inputs), ("outputs", outputs)):
        check_values(name, symbols, "at least 0", lambda known: known >= 0, real)
    if not (real[:, :-1] & real[:, 1:]).any():
        raise InputError("no sequence has two steps: there are no transitions to read")
    members = np.full(shape, -1)
    members[real] = _k_means(states[real], clusters, np.random.default_rng(seed))
    classes = _merged(*_machine(members, inputs, outputs, real)[:2])  # [K]
    members[real] = classes[members[real]]
    order = np.argsort(-np.bincount(members[real]), kind="stable")
    members[real] = np.argsort(order)[members[real]]
    printed, following, agreement = _machine(members, inputs, outputs, real)
    return Automaton(printed, following, np.bincount(members[real]), agreement, members)


def _machine(members: np.ndarray, inputs: np.ndarray, outputs: np.ndarray, real: np.ndarray):
    """The symbol of each state [K], the state after each state and input [K, V], and the share of the steps that they give."""
    moves = real[:, :-1] & real[:, 1:]  # [N, T - 1]
    count, symbols = members.max() + 1, inputs[real].max() + 1
    printed = _most(members[real], outputs[real], count, outputs[real].max() + 1)  # [K]
    pairs = (members[:, :-1] * symbols + inputs[:, 1:])[moves]
    following = _most(pairs, members[:, 1:][moves], count * symbols, count)  # [K V]
    right = (following[pairs] == members[:, 1:][moves]) & (printed[members[:, 1:]] == outputs[:, 1:])[moves]
    return printed, following.reshape(count, symbols), float(right.mean())


def _k_means(points: np.ndarray, clusters: int, rng: np.random.Generator, rounds: int = 50) -> np.ndarray:
    """The cluster of each point [N, H]: k-means from centres far apart, empty clusters left out."""
    centres, nearest = points[rng.integers(len(points))][None], np.full(len(points), np.inf)
    for _ in range(clusters - 1):  # each new centre is the point that is farthest from all
        nearest = np.minimum(nearest, ((points - centres[-1]) ** 2).sum(axis=1))
        if not nearest.max() > 1e-12:
            break
        centres = np.vstack([centres, points[nearest.argmax()]])
    labels = np.zeros(len(points), np.int64)
    for _ in range(rounds):
        distances = (centres**2).sum(axis=1) - 2 * points @ centres.T  # [N, K]
        before, labels = labels, distances.argmin(axis=1)
        centres = np.stack([points[labels == k].mean(axis=0) if (labels == k).any() else c for k, c in enumerate(centres)])
        if (labels == before).all():
            break
    return np.unique(labels, return_inverse=True)[1]


def _most(keys: np.ndarray, values: np.ndarray, size: int, kinds: int) -> np.ndarray:
    """The commonest value of each key 0 .. size - 1, int [size]; -1 for a key that does not occur."""
    counts = np.bincount(keys * kinds + values, minlength=size * kinds).reshape(size, kinds)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), -1)


def _merged(printed: np.ndarray, following: np.ndarray) -> np.ndarray:
    """The class of each state by Moore's refinement; a transition that was not seen agrees with every other."""
    classes = np.unique(printed, return_inverse=True)[1]
    while True:
        signatures: list[tuple[int, np.ndarray]] = []
        refined = np.empty_like(classes)
        for state in range(len(classes)):
            ahead = np.where(following[state] >= 0, classes[following[state]], -1)  # [V]
            for number, (kind, known) in enumerate(signatures):
                if kind == classes[state] and ((known == ahead) | (known < 0) | (ahead < 0)).all():
                    signatures[number] = (kind, np.maximum(known, ahead))
                    break
            else:
                number = len(signatures)
                signatures.append((classes[state], ahead))
            refined[state] = number
        if len(signatures) == classes.max() + 1:
            return refined
        classes = refined


@public
def draw_automaton(path, automaton: Automaton, *, inputs: Sequence[str], outputs: Sequence[str], title: str = ""):
    """Draw an automaton: its states on a circle, each with the symbol that it prints, and an arrow for each transition.

    Args:
        path: the PNG file to write.
        automaton: returned by `extract_automaton`.
        inputs: the names of the input symbols.
        outputs: the names of the printed symbols.
        title: above the picture.

    Raises:
        InputError: too few names; matplotlib is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "automaton.png")
        >>> inputs = np.array([[0, 1, 1, 0, 1]])
        >>> parity = inputs.cumsum(axis=1) % 2
        >>> machine = extract_automaton(parity[..., None].astype(float), inputs, parity)
        >>> draw_automaton(path, machine, inputs=["0", "1"], outputs=["even", "odd"])
        >>> path.read_bytes()[1:4]
        b'PNG'
    """
    count, symbols = automaton.transitions.shape
    for name, names, size in (("inputs", inputs, symbols), ("outputs", outputs, int(automaton.outputs.max()) + 1)):
        if len(names) < size:
            raise InputError(f"{name} has {len(names)} names, the automaton has {size} symbols: name each")
    figure = new_figure(7.5, 7)
    axes = figure.add_subplot()
    axes.set(xlim=(-1.75, 1.75), ylim=(-1.65, 1.65), aspect="equal", title=title)
    axes.axis("off")
    angles = np.pi * 3 / 4 - 2 * np.pi * np.arange(count) / count
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (count > 1)  # [K, 2]
    arrow = {"arrowstyle": "-|>", "color": "tab:gray", "shrinkA": 31, "shrinkB": 31, "mutation_scale": 14}
    for one in range(count):
        for other in sorted(set(automaton.transitions[one].tolist()) - {-1}):
            label = "\n".join(inputs[int(n)] for n in np.flatnonzero(automaton.transitions[one] == other))
            if one == other:
                outward = places[one] * 1.33 if count > 1 else np.array([0.0, 0.5])
                side = np.array([-outward[1], outward[0]]) * 0.2
                ends = (places[one] + side * 0.6, places[one] - side * 0.6)
                bent = {**arrow, "shrinkA": 22, "shrinkB": 22, "connectionstyle": "arc3,rad=-1.9"}
                axes.annotate("", ends[1], ends[0], arrowprops=bent)
                x, y = places[one] * 1.46 if count > 1 else (0.0, 0.62)
                axes.text(x, y, label, ha="center", va="center", fontsize=9)
                continue
            axes.annotate("", places[other], places[one], arrowprops={**arrow, "connectionstyle": "arc3,rad=0.18"})
            way = places[other] - places[one]
            middle = places[one] + 0.42 * way + 0.11 * np.array([way[1], -way[0]])
            back = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.text(middle[0], middle[1], label, ha="center", va="center", fontsize=9, bbox=back)
    for state, place in enumerate(places):
        share = automaton.visits[state] / automaton.visits.sum()
        axes.plot(place[0], place[1], "o", markersize=52, markerfacecolor="#dbe9f6", markeredgecolor="tab:blue")
        text = f"{outputs[automaton.outputs[state]]}\n{share:.0%}"
        axes.text(place[0], place[1], text, ha="center", va="center", fontsize=10)
    save_png(figure, path)
