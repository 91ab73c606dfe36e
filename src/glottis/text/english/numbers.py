"""English numbers in words.

American by default ("one hundred twenty-three"); ``british=True`` adds "and" ("one hundred and
twenty-three"). Written here because the front end must start in milliseconds, and because year,
digit and fraction readings need the same words anyway.
"""

from __future__ import annotations

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_GROUPS = (
    "_ thousand million billion trillion quadrillion quintillion sextillion septillion octillion "
    "nonillion decillion"
).split()
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
LARGEST = 10 ** (3 * len(_GROUPS)) - 1
"""The largest number with a name; beyond it digits are read one by one."""


def cardinal(number: int, british: bool = False) -> str:
    """``1203`` -> "one thousand two hundred three"; negative numbers begin with "minus"."""
    if number < 0:
        return "minus " + cardinal(-number, british)
    if number > LARGEST:
        return digits(str(number))
    if number < 1000:
        return _below_thousand(number, british)
    words = []
    for power in range(len(_GROUPS) - 1, -1, -1):
        group = number // 1000**power % 1000
        if group == 0:
            continue
        if power == 0 and group < 100 and british:
            words.append("and")
        words.append(_below_thousand(group, british))
        if power:
            words.append(_GROUPS[power])
    return " ".join(words)


def _below_thousand(number: int, british: bool) -> str:
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens] + (f"-{_SMALL[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    words = f"{_SMALL[hundreds]} hundred"
    if rest:
        words += (" and " if british else " ") + _below_thousand(rest, british)
    return words


def ordinal(number: int, british: bool = False) -> str:
    """``21`` -> "twenty-first"."""
    words = cardinal(number, british)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[cut:]
    if last in _ORDINALS:
        last = _ORDINALS[last]
    elif last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last += "th"
    return words[:cut] + last


def year(number: int, british: bool = False) -> str:
    """``1905`` -> "nineteen oh five", ``2000`` -> "two thousand"."""
    century, rest = divmod(number, 100)
    if not 1000 <= number <= 9999 or (century % 10 == 0 and rest < 10):
        return cardinal(number, british)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {f'oh {_SMALL[rest]}' if rest < 10 else cardinal(rest)}"


def digits(written: str) -> str:
    """``007`` -> "zero zero seven"; anything but digits is left out."""
    return " ".join(_SMALL[int(character)] for character in written if character in "0123456789")


def number(written: str, british: bool = False) -> str:
    """A number as written, ``-1,234.50`` -> "minus one thousand ... point five zero".

    Leading zeros ("007") are read digit by digit, as codes are.
    """
    sign = ""
    if written[:1] in "+-−±":
        sign = {"+": "plus ", "±": "plus or minus "}.get(written[0], "minus ")
        written = written[1:].lstrip()
    whole, point, decimals = written.replace(",", "").partition(".")
    if whole == "":
        words = ""
    elif (len(whole) > 1 and whole[0] == "0") or len(whole) > 3 * len(_GROUPS):
        words = digits(whole)
    else:
        words = cardinal(int(whole), british)
    if point:
        words = f"{words} point {digits(decimals)}"
    return sign + words.strip()


def plural(word: str) -> str:
    """``sixty`` -> "sixties", ``hundred`` -> "hundreds"."""
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith("x") else "s")


def fraction(numerator: int, denominator: int, british: bool = False) -> str:
    """``3, 4`` -> "three quarters"; denominators without a usual name: "three over forty-one"."""
    top = cardinal(numerator, british)
    if denominator == 2:
        return f"{top} {'half' if numerator == 1 else 'halves'}"
    if denominator == 4:
        return f"{top} quarter{'s' * (numerator != 1)}"
    if 3 <= denominator <= 20 or denominator in (30, 32, 40, 50, 60, 64, 100, 1000):
        return f"{top} {ordinal(denominator)}{'s' * (numerator != 1)}"
    return f"{top} over {cardinal(denominator, british)}"
