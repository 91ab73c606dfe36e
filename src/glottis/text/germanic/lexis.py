"""What a language has to say for what both languages write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Lexis:
    """One language's words.

    Attributes:
        cardinal: a number from 0 in words; those too large for a name digit by digit.
        ordinal: a number and the words before it to the ordinal in the right form.
        decimals: the digits behind the comma, as a number or one by one.
        one: 1 before a unit whose gender is not known.
        before_noun: 1 before the word that follows it, or None where it stays a number.
        digits: names of the ten digits.
        month_names: the twelve.
        months: each way to write a month, without its stop, to its name.
        units: symbol to what is said of one, its article included, and of several.
        currencies: sign or code to one, several, one hundredth, several hundredths.
        scales: written after a number: one, several.
        abbreviations: as written to what is said; inner stops may have spaces behind them.
        before_number: abbreviations that are read only before a number.
        signs: what single signs are called.
        year: a year in words.
        comma, minus, plus, to, by, times, percent, per_mille, clock, seconds, dot, at, slash:
            words.
        date: day, name of the month, year or None, and the text before, to words.
        decade: a number in words to the years that begin with it.
        fraction: numerator and denominator to words, None for one that has no name.
    """

    cardinal: Callable[[int], str]
    ordinal: Callable[[int, str], str]
    decimals: Callable[[str], str]
    one: str
    before_noun: Callable[[str], str | None]
    digits: tuple[str, ...]
    month_names: tuple[str, ...]
    months: Mapping[str, str]
    units: Mapping[str, tuple[str, str]]
    currencies: Mapping[str, tuple[str, str, str, str]]
    scales: Mapping[str, tuple[str, str]]
    abbreviations: Mapping[str, str]
    before_number: Mapping[str, str]
    signs: Mapping[str, str]
    date: Callable[[int, str, int | None, str], str]
    year: Callable[[int], str]
    decade: Callable[[str], str]
    fraction: Callable[[int, int], str | None]
    comma: str
    minus: str
    plus: str
    to: str
    by: str
    times: str
    percent: str
    per_mille: str
    clock: str
    seconds: tuple[str, str]
    dot: str
    at: str
    slash: str

    def spell(self, written: str) -> str:
        """Digits one by one; anything else is left out."""
        return " ".join(self.digits[int(character)] for character in written if character in DIGITS)

    def number(self, written: str, one: str | None = None) -> str:
        """A number as written, ``-1.234,5``; leading zeros are read digit by digit.

        ``one`` is said for a lone 1.
        """
        sign = ""
        if written[:1] in "+-−±":
            named = {"+": self.plus, "±": f"{self.plus} {self.minus}"}
            sign = named.get(written[0], self.minus) + " "
            written = written[1:].lstrip()
        whole, point, decimals = written.replace(".", "").replace("'", "").partition(",")
        if whole == "1" and not point and one is not None:
            words = one
        elif len(whole) > 1 and whole[0] == "0":
            words = self.spell(whole)
        else:
            words = self.cardinal(int(whole)) if len(whole) <= 66 else self.spell(whole)
        if point:
            words = f"{words} {self.comma} {self.decimals(decimals)}"
        return sign + words


DIGITS = "0123456789"


def of_units(
    names: Mapping[str, tuple[str, str]], powers: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """Add squares and cubes of lengths; ``powers`` maps ² and ³ to what goes before the name."""
    found = dict(names)
    for symbol in ("m", "km", "cm", "mm", "dm"):
        one, many = names[symbol]
        article, _, name = one.rpartition(" ")
        for sign, how in powers.items():
            joined = f"{how}{name.lower()}"
            several = f"{how}{many.lower()}"
            found[symbol + sign] = (f"{article} {joined}", several)
    return found
