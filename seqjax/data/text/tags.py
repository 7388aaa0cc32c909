"""Tags: the first word of a source, such as "<fr>", names the language to translate into."""

import re
from collections.abc import Sequence

from seqjax.data.text.pairs import Pair
from seqjax.data.text.subwords import RESERVED
from seqjax.data.text.vocabulary import Vocabulary
from seqjax.errors import InputError

_TAG = re.compile(rf"(?!(?:{'|'.join(RESERVED)})\s)<\S+>(?=\s)")


def source_tags(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """The tags that sources begin with, such as "<fr>" and "<de>", sorted; the name of a special symbol is no tag.

    Example:
        >>> source_tags([Pair("<fr> two", "deux"), Pair("two < three", "yes"), Pair("<de> two", "zwei")])
        ('<de>', '<fr>')
        >>> source_tags([Pair("<unk> two", "deux"), Pair("<s> two", "deux")])
        ()
    """
    return tuple(sorted({tag[0] for pair in pairs if (tag := _TAG.match(pair.source))}))


def by_tag(pairs: Sequence[Pair]) -> dict[str, list[int]]:
    """Indices of the pairs of each tag, "<" and ">" removed; {} unless every pair has a tag and there are at least two tags.

    Example:
        >>> by_tag([Pair("<fr> two", "deux"), Pair("<de> two", "zwei"), Pair("<fr> one", "un")])
        {'de': [1], 'fr': [0, 2]}
        >>> by_tag([Pair("<i> two", "deux"), Pair("<b> two", "deux"), Pair("one", "un")])
        {}
    """
    names = [tag[0][1:-1] if (tag := _TAG.match(pair.source)) else None for pair in pairs]
    kinds = set(names)
    if None in kinds or len(kinds) < 2:
        return {}
    return {kind: [n for n, name in enumerate(names) if name == kind] for kind in sorted(filter(None, kinds))}


def check_tag(tag: str, vocabulary: Vocabulary):
    """Raises InputError unless a tag is one symbol of a vocabulary.

    Example:
        >>> from seqjax.data.text.words import WordVocabulary
        >>> check_tag("<it>", WordVocabulary.from_text("<fr> one two"))
        Traceback (most recent call last):
        seqjax.errors.InputError: the vocabulary has no <it>
    """
    ids = vocabulary.encode(tag)
    if len(ids) != 1 or ids[0] == vocabulary.unknown:
        symbols = ", ".join(getattr(vocabulary, "symbols", ()))
        raise InputError(f"the vocabulary has no {tag}" + (f": it has {symbols}" if symbols else ""))
