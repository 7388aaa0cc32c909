"""The classes of a data set, which a run saves as other runs save a vocabulary."""

from collections.abc import Iterable
from dataclasses import dataclass

from seqjax.errors import InputError
from seqjax.serial import register
from seqjax.values import Value


@register
@dataclass(frozen=True, kw_only=True)
class Labels(Value):
    """The names of classes, in the order of their numbers.

    Args:
        names: distinct names, at least one.

    Raises:
        InputError: there is no name, or a name is given twice.

    Example:
        >>> classes = Labels(names=("walk", "run"))
        >>> len(classes), classes.index("run"), classes.names[0]
        (2, 1, 'walk')
    """

    names: tuple[str, ...]

    def __post_init__(self):
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice or not self.names:
            raise InputError(f"class {twice[0]!r} is given twice: name it once" if twice else "there are no classes: name one")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, names: Iterable[str]) -> "Labels":
        """The distinct names of some items, in alphabetical order.

        Args:
            names: the class of each item.

        Returns:
            The classes.

        Raises:
            InputError: there is no name.
        """
        return cls(names=tuple(sorted(set(names))))

    def index(self, name: str) -> int:
        """The number of a class.

        Args:
            name: the class's name.

        Returns:
            Its number, from 0.

        Raises:
            InputError: there is no class of that name.
        """
        if name not in self.names:
            raise InputError(f"class {name!r} is not known: it must be one of {', '.join(self.names)}")
        return self.names.index(name)
