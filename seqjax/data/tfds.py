"""Texts of TensorFlow Datasets, read without TensorFlow."""

import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from seqjax.errors import InputError

Choose = Callable[[Sequence[str], Any], tuple[str, ...]]


def read_examples(name: str, data_dir, choose: Choose, *, what: str, instead: str) -> dict[str, list[tuple[str, ...]]]:
    """The texts of every example of every split.

    Args:
        name: the data set's name in tfds: "lm1b", "ted_hrlr_translate/pt_to_en".
        data_dir: the folder where tfds stores data; None: tfds's default.
        choose: a function of the names of the data set's text features and its supervised keys (input and target, or None)
            that returns the features to read; may raise InputError.
        what, instead: the kind of data, and an alternative to suggest if it cannot be read; both for the error message.

    Returns:
        {split: [the texts of the chosen features, for each example]}.

    Raises:
        InputError: an unknown name, no network, a data set that only TensorFlow can prepare, or an error from `choose`.
    """
    try:
        return _read(name, data_dir, choose)
    except Exception as error:  # tfds raises errors of many types whose messages fill pages
        needs_tensorflow = isinstance(error, ImportError) and error.name == "tensorflow"
        remedy = "pip install 'seqjax[tfds-tf]'" if needs_tensorflow else f"another name, or {instead}"
        raise InputError(f"tfds {what} {name} cannot be read: {_reason(error)} (try {remedy})") from None


def _read(name: str, data_dir, choose: Choose) -> dict[str, list[tuple[str, ...]]]:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    retries = downloader.MAX_RETRIES
    downloader.MAX_RETRIES = 0  # by default, tfds tries ten times, for minutes, before it reports that there is no network
    quiet = io.StringIO()  # swallows tfds's notices about missing packages and its progress bars
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            import tensorflow_datasets.translate  # the import registers its builders

            builder = tfds.builder(name, data_dir=data_dir, try_gcs=False, file_format="array_record")
            features: Any = builder.info.features
            texts = [key for key, feature in features.items() if isinstance(feature, tfds.features.Text)]
            chosen = choose(texts, builder.info.supervised_keys)
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
            splits = list(builder.info.splits) or ["train", "validation", "test"]  # tfds's mock data lists no splits
            read: Any = builder.as_data_source
            sources = {split: read(split=split) for split in splits}
            examples = {split: [source[n] for n in range(len(source))] for split, source in sources.items()}
    finally:
        downloader.MAX_RETRIES = retries
    return {split: [tuple(_text(example[key]) for key in chosen) for example in rows] for split, rows in examples.items()}


def _text(value: str | bytes) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _reason(error: Exception) -> str:
    """The first line of an error, or that a host cannot be reached."""
    request = getattr(error, "request", None)
    if isinstance(error, OSError) and request is not None:
        return f"{urlsplit(request.url).hostname} cannot be reached"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
