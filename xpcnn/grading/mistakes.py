"""The mistakes that are known by name: what each looks like, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass

from xpcnn.grading import table_training, table_values, table_windows


@dataclass(frozen=True)
class Mistake:
    """A typical mistake.

    Attributes
    ----------
    en, ja : str
        What it looks like, as it stands behind the number that is wrong.
    fix, fix_ja : str
        How to mend it.

    Examples
    --------
    >>> from xpcnn.grading import MISTAKES
    >>> MISTAKES["filter_flipped"].en
    'the filter is flipped: this is a convolution instead of a cross-correlation'
    """

    en: str
    ja: str
    fix: str
    fix_ja: str

    def what(self, lang: str) -> str:
        """Say what the mistake looks like."""
        return self.ja if lang == "ja" else self.en

    def hint(self, lang: str) -> str:
        """Say how to mend it."""
        return self.fix_ja if lang == "ja" else self.fix


MISTAKES: dict[str, Mistake] = {
    name: Mistake(*texts)
    for table in (table_windows, table_values, table_training)
    for name, texts in table.TABLE.items()
}
"""By their names, which do not change from version to version."""
