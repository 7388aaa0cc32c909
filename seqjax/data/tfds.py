"""Data sets of TensorFlow Datasets, read without TensorFlow where their features allow it."""

import contextlib
import functools
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from seqjax.errors import InputError

Choose = Callable[[Sequence[str], Any], tuple[str, ...]]


class Examples(Sequence[tuple[str, ...]]):
    """The texts of the examples of a split, each read whenever it is asked for.

    Args:
        source: the examples, as tfds reads them.
        chosen: the features to read.
        guard: a function that returns the context in which an example is read.
    """

    def __init__(self, source: Sequence[Any], chosen: Sequence[str], guard: Callable[[], contextlib.AbstractContextManager]):
        self._source, self._chosen, self._guard = source, chosen, guard

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index):
        n = range(len(self))[index]
        if isinstance(n, range):
            return [self[i] for i in n]
        with self._guard():
            example = self._source[n]
            return tuple(_text(example[key]) for key in self._chosen)


def read_examples(name: str, data_dir, choose: Choose, *, what: str, instead: str) -> dict[str, Examples]:
    """The texts of the examples of every split.

    Args:
        name: the data set's name in tfds: "lm1b", "ted_hrlr_translate/pt_to_en".
        data_dir: the folder where tfds stores data; None: tfds's default.
        choose: a function of the names of the data set's text features and its supervised keys (input and target, or None)
            that returns the features to read; may raise InputError.
        what, instead: the kind of data, and an alternative to suggest if it cannot be read; both for the error message.

    Returns:
        {split: the texts of the chosen features, for each example}.

    Raises:
        InputError: an unknown name, no network, a data set that only TensorFlow can prepare, or an error from `choose`; and,
            when it is asked for, an example that cannot be read.
    """

    def choose_texts(features: dict, keys) -> tuple[str, ...]:
        from tensorflow_datasets.core.features import Text

        return choose([key for key, feature in features.items() if isinstance(feature, Text)], keys)

    guard = functools.partial(one_line, name, what=what, instead=instead)
    with guard():
        chosen, sources = open_sources(name, data_dir, choose_texts)
        return {split: Examples(source, chosen, guard) for split, source in sources.items()}


@contextlib.contextmanager
def one_line(name: str, *, what: str, instead: str) -> Iterator[None]:
    """A context in which every error about a data set of tfds becomes an InputError of one line.

    Args:
        name: the data set's name in tfds.
        what, instead: the kind of data, and an alternative to suggest.

    Raises:
        InputError: anything was raised within.
    """
    try:
        yield
    except Exception as error:  # tfds raises errors of many types whose messages fill pages
        needs_tensorflow = isinstance(error, ImportError) and (error.name or "").split(".")[0] == "tensorflow"
        remedy = "pip install 'seqjax[tfds-tf]'" if needs_tensorflow else f"another name, or {instead}"
        raise InputError(f"tfds {what} {name} cannot be read: {_reason(error)} (try {remedy})") from None


def open_sources(
    name: str, data_dir, choose: Callable[[dict, Any], Any], undecoded: Callable[[Any], Sequence[str]] = lambda chosen: ()
) -> tuple[Any, dict[str, Any]]:
    """The splits of a data set, downloaded and prepared if they are not there yet.

    Args:
        name: the data set's name in tfds.
        data_dir: the folder where tfds stores data; None: tfds's default.
        choose: a function of the features by name and the supervised keys (or None), called before anything is downloaded.
        undecoded: a function of the value returned by `choose` that names the features whose images stay encoded.

    Returns:
        (the value returned by `choose`, {split: a sequence of examples}).
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    retries = downloader.MAX_RETRIES
    downloader.MAX_RETRIES = 0  # by default, tfds tries ten times, for minutes, before it reports that there is no network
    quiet = io.StringIO()  # swallows tfds's notices about missing packages and its progress bars
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            import tensorflow_datasets.translate
            import tensorflow_datasets.video

            builder = tfds.builder(name, data_dir=data_dir, try_gcs=False, file_format="array_record")
            features: Any = builder.info.features
            chosen = choose(dict(features.items()), builder.info.supervised_keys)
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
            splits = list(builder.info.splits) or ["train", "validation", "test"]  # tfds's mock data lists no splits

            class Encoded(tfds.decode.SkipDecoding):  # leaves sequences of images encoded too
                decode_batch_example_np = tfds.decode.SkipDecoding.decode_example_np

            decoders: Any = {feature: Encoded() for feature in undecoded(chosen)}
            read: Any = builder.as_data_source
            return chosen, {split: read(split=split, decoders=decoders or None) for split in splits}
    finally:
        downloader.MAX_RETRIES = retries


def _text(value: str | bytes) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _reason(error: Exception) -> str:
    """The first line of an error, or that a host cannot be reached."""
    request = getattr(error, "request", None)
    if isinstance(error, OSError) and request is not None:
        return f"{urlsplit(request.url).hostname} cannot be reached"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
