"""Readers for quantities: dates, times, telephone numbers, money, measures, fractions, numbers."""

from __future__ import annotations

import re

from glottis.text.english import numbers
from glottis.text.english import words as table
from glottis.text.english.numbers import cardinal, ordinal
from glottis.text.english.scene import Scene, Spoken, closing_stop
from glottis.text.tokens import Token

# --- dates and times -----------------------------------------------------------------------------


def _full_year(written: str) -> int:
    value = int(written)
    if len(written) == 2:
        return value + (2000 if value < 50 else 1900)
    return value


def _date(day: int, month: int, year: str, scene: Scene) -> Spoken:
    if not (1 <= day <= 31 and 1 <= month <= 12):
        return None
    name = table.MONTHS[month - 1]
    said = numbers.year(_full_year(year), scene.british)
    if scene.british:
        return f"the {ordinal(day)} of {name} {said}"
    return f"{name} {ordinal(day)} {said}"


def slash_date(m: re.Match[str], scene: Scene) -> Spoken:
    first, second = int(m["a"]), int(m["b"])
    day, month = (first, second) if scene.british else (second, first)
    if month > 12:
        day, month = month, day
    return _date(day, month, m["y"], scene)


def plain_date(m: re.Match[str], scene: Scene) -> Spoken:
    return _date(int(m["d"]), int(m["m"]), m["y"], scene)


def month_day(m: re.Match[str], scene: Scene) -> Spoken:
    if not 1 <= int(m["d"]) <= 31:
        return None
    return f"{_month(m['month'])} {ordinal(int(m['d']))}"


def day_month(m: re.Match[str], scene: Scene) -> Spoken:
    if not 1 <= int(m["d"]) <= 31:
        return None
    article = "" if re.search(r"\bthe $", scene.before(m.start()), re.I) else "the "
    return f"{article}{ordinal(int(m['d']))} of {_month(m['month'])}"


def _month(written: str) -> str:
    return next(name for name in table.MONTHS if name.startswith(written[:3]))


def time(m: re.Match[str], scene: Scene) -> Spoken:
    hour, minute, *second = (int(part) for part in m["clock"].split(":"))
    half = m["half"]
    if hour > 24:
        return f"{cardinal(hour)} {cardinal(minute)}" if not second else None
    if half:
        words = cardinal(hour) + (f" {_minutes(minute)}" if minute else "")
    elif minute == 0:
        if hour in (0, 24):
            words = "midnight"
        else:
            words = f"{cardinal(hour)} o'clock" if hour <= 12 else f"{cardinal(hour)} hundred"
    else:
        words = f"{cardinal(hour)} {_minutes(minute)}"
    if second:
        seconds = "second" if second[0] == 1 else "seconds"
        words += f" and {cardinal(second[0])} {seconds}"
    return _with_half(m, words, scene)


def _minutes(minute: int) -> str:
    return f"oh {cardinal(minute)}" if minute < 10 else cardinal(minute)


def hour(m: re.Match[str], scene: Scene) -> Spoken:
    if not 1 <= int(m["clock"]) <= 12:
        return None
    return _with_half(m, cardinal(int(m["clock"])), scene)


def _with_half(m: re.Match[str], words: str, scene: Scene) -> Spoken:
    half = m["half"]
    if not half:
        return words
    tokens = [Token(m[0], f"{words} {half[0].upper()} M")]
    return tokens + closing_stop(m, half, scene)


# --- telephone and other codes -------------------------------------------------------------------


def telephone(m: re.Match[str], scene: Scene) -> Spoken:
    tokens: list[Token] = []
    for group in re.findall(r"\+?[0-9]+", m[0]):
        if tokens:
            tokens.append(Token("", ","))
        plus = "plus " if group[0] == "+" else ""
        tokens.append(Token(group, plus + numbers.digits(group)))
    return tokens


def dashed(m: re.Match[str], scene: Scene) -> Spoken:
    parts = m[0].split("-")
    if sum(map(len, parts)) >= 7:
        return telephone(m, scene)
    return " ".join(numbers.number(part, scene.british) for part in parts)


def version(m: re.Match[str], scene: Scene) -> Spoken:
    return "version " + " point ".join(numbers.number(part) for part in m["parts"].split("."))


def dotted_number(m: re.Match[str], scene: Scene) -> Spoken:
    """An internet address has four numbers below 256; anything else is a version or a section."""
    parts = m["parts"].split(".")
    address = len(parts) == 4 and all(len(part) < 4 and int(part) < 256 for part in parts)
    return (" dot " if address else " point ").join(numbers.number(part) for part in parts)


# --- money, measures, percent --------------------------------------------------------------------


def _scale(written: str | None) -> str:
    return table.SCALES.get(written.lower(), written.lower()) if written else ""


def money(m: re.Match[str], scene: Scene) -> Spoken:
    one, many, cent, cents = table.CURRENCIES[m["sign"].upper()]
    amount, scale = m["n"], _scale(m["scale"])
    minus = "minus " if m["minus"] else ""
    if m["to"]:
        low = numbers.number(amount, scene.british)
        high = numbers.number(m["to"], scene.british)
        return " ".join(part for part in (minus + low, "to", high, scale, many) if part)
    whole, _, decimals = amount.replace(",", "").partition(".")
    if scale:
        words = f"{numbers.number(amount, scene.british)} {scale}"
        return f"{minus}{words} {one if _adjectival(m, scene) else many}"
    if len(decimals) != 2 or not cent:
        unit = one if amount == "1" or _adjectival(m, scene) else many
        return f"{minus}{numbers.number(amount, scene.british)} {unit}"
    pence = int(decimals)
    parts = []
    if whole.strip("0") or not pence:
        unit = one if whole == "1" or _adjectival(m, scene) else many
        parts.append(f"{numbers.number(whole, scene.british)} {unit}")
    if pence:
        parts.append(f"{cardinal(pence)} {cent if pence == 1 else cents}")
    return minus + " and ".join(parts)


def _adjectival(m: re.Match[str], scene: Scene) -> bool:
    """Whether an amount stands before its noun, "a $5 bill": the unit is singular then."""
    if not re.search(r"\ban? $", scene.before(m.start()), re.I):
        return False
    following = re.match(r"[ -]([a-z]+)", scene.after(m.end()))
    return following is not None and following[1] not in table.NOT_NOUNS


def money_behind(m: re.Match[str], scene: Scene) -> Spoken:
    one, many, _, _ = table.CURRENCIES[m["code"]]
    if _adjectival(m, scene):
        many = one
    scale = _scale(m["scale"])
    unit = one if m["n"] == "1" and not scale else many
    return " ".join(p for p in (numbers.number(m["n"], scene.british), scale, unit) if p)


def cents(m: re.Match[str], scene: Scene) -> Spoken:
    return f"{numbers.number(m['n'], scene.british)} cent{'s' * (m['n'] != '1')}"


def measure(m: re.Match[str], scene: Scene) -> Spoken:
    symbol, per = m["unit"], m["per"]
    one, many = table.UNITS[symbol]
    if len(symbol) == 1 and symbol in "VWKNJhsL" and not per:
        # "Class 5 V was": a single letter behind a space is a unit only where a phrase can end;
        # and 5K, without a space, is a name.
        if symbol in "K" or (not m["gap"] and symbol in "NJL"):
            return None
        if m["gap"] and not re.match(
            r"\s*(?:[.,;:)?!]|$|(?:and|of|to|at)\b)", scene.after(m.end())
        ):
            return None
    if m["gap"] == "-" and symbol in ("m", "s", "h", "l", "g", "V", "W", "in.", "pt", "min", "bit"):
        return None
    low = numbers.number(m["n"], scene.british)
    if m["to"]:
        low += f" to {numbers.number(m['to'], scene.british)}"
    single = (m["n"] in ("1", "-1", "−1") and not m["to"]) or _adjectival(m, scene)
    words = f"{low} {one if single else many}"
    if per:
        words += f" per {table.UNITS[per][0]}"
    if scene.british:
        words = re.sub(r"meter(s?)\b", r"metre\1", words).replace("liter", "litre")
    tokens = [Token(m[0], words)]
    return tokens + closing_stop(m, m[0], scene)


def feet_inches(m: re.Match[str], scene: Scene) -> Spoken:
    feet = "foot" if m["ft"] == "1" else "feet"
    words = f"{cardinal(int(m['ft']))} {feet}"
    if m["in"]:
        words += f" {cardinal(int(m['in']))}"
    return [Token(m[0], words), *closing_stop(m, m[0], scene)]


def percent(m: re.Match[str], scene: Scene) -> Spoken:
    low = numbers.number(m["n"], scene.british)
    if m["to"]:
        low += f" to {numbers.number(m['to'], scene.british)}"
    return f"{low} {'per mille' if m['sign'] == '‰' else 'percent'}"


# --- numbers -------------------------------------------------------------------------------------


def decade(m: re.Match[str], scene: Scene) -> Spoken:
    century, tens = m["century"], int(m["tens"])
    if tens == 0:
        if not century:
            return None
        return "two thousands" if century == "20" else f"{cardinal(int(century))} hundreds"
    if tens < 20:
        name = "tens"
    else:
        name = numbers.plural(cardinal(tens))
    if not century:
        return name
    return f"{'two thousand' if century == '20' and tens == 10 else cardinal(int(century))} {name}"


def ordinal_number(m: re.Match[str], scene: Scene) -> Spoken:
    digits = m["n"].replace(",", "")
    return ordinal(int(digits), scene.british) if len(digits) <= 36 else None


_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5),
    "⅗": (3, 5), "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8),
    "⅝": (5, 8), "⅞": (7, 8), "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip


def vulgar_fraction(m: re.Match[str], scene: Scene) -> Spoken:
    return _fraction(m["whole"], *_VULGAR[m["vulgar"]], scene)


def fraction(m: re.Match[str], scene: Scene) -> Spoken:
    whole, top, bottom = m["whole"], int(m["top"]), int(m["bottom"])
    if bottom == 0 or (whole and top >= bottom):
        return None
    if not whole and (top, bottom) in ((24, 7), (9, 11), (50, 50)):
        return f"{cardinal(top)} {cardinal(bottom)}"
    return _fraction(whole, top, bottom, scene)


def _fraction(whole: str | None, top: int, bottom: int, scene: Scene) -> str:
    if not whole and (top > bottom or bottom > 1000):
        return f"{cardinal(top)} over {cardinal(bottom)}"
    said = numbers.fraction(top, bottom, scene.british)
    if not whole:
        return said
    if top == 1:
        said = re.sub("^one", "an" if bottom == 8 else "a", said)
    return f"{numbers.number(whole.rstrip(' -'), scene.british)} and {said}"


def number_range(m: re.Match[str], scene: Scene) -> Spoken:
    low, high = m["n"], m["to"]
    if m["dash"] == " - " and float(low.replace(",", "")) >= float(high.replace(",", "")):
        return None  # a difference
    if re.fullmatch("1[0-9]{3}|20[0-9]{2}", low) and len(high) in (2, 4) and high.isdecimal():
        if len(high) == 4:
            last = numbers.year(int(high), scene.british)
        else:
            last = cardinal(int(high)) if high[0] != "0" else f"oh {cardinal(int(high))}"
        return f"{numbers.year(int(low), scene.british)} to {last}"
    return f"{numbers.number(low, scene.british)} to {numbers.number(high, scene.british)}"


def power(m: re.Match[str], scene: Scene) -> Spoken:
    exponent = m["e"] or m["up"].translate(_SUPERSCRIPTS)
    value = int(exponent)
    if value in (2, 3):
        power = "squared" if value == 2 else "cubed"
    elif 0 < value < 100:
        power = f"to the {ordinal(value)}"
    else:
        power = f"to the power of {cardinal(value)}"
    return f"{numbers.number(m['n'], scene.british)} {power}"


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")


def scientific(m: re.Match[str], scene: Scene) -> Spoken:
    exponent = int(m["e"].replace("−", "-"))
    return f"{numbers.number(m['n'], scene.british)} times ten to the power of {cardinal(exponent)}"


def number(m: re.Match[str], scene: Scene) -> Spoken:
    written = m[0]
    if re.fullmatch("[0-9]{4}", written) and _is_year(m, scene):
        return numbers.year(int(written), scene.british)
    return numbers.number(written, scene.british)


def _is_year(m: re.Match[str], scene: Scene) -> bool:
    value = int(m[0])
    before, after = scene.before(m.start()), scene.after(m.end())
    if 1100 <= value <= 2099 and (table.YEAR_BEFORE.search(before) or re.match("[-']s", after)):
        return True
    if re.match(r" ?(?:BC|AD|CE|BCE)\b|\s?(?:B\.C|A\.D|C\.E)\.", after):
        return value >= 1000
    if not 1100 <= value <= 2099 or value in (2000,) or value % 1000 == 0:
        return bool(1000 < value < 1100 and table.YEAR_BEFORE.search(before))
    noun = re.match(r" ([a-z]+)", after)
    if noun:
        word = noun[1]
        if word in table.COUNTED or (
            len(word) > 3 and word.endswith("s") and not word.endswith("ss")
        ):
            return word in table.NOT_NOUNS
    return True


def operator(m: re.Match[str], scene: Scene) -> Spoken:
    """A sign between two numbers: "4 x 6" is "by", "4 - 2" is "minus"."""
    return {
        "x": "by", "×": "times", "*": "times", "/": "over", "÷": "divided by", ":": "to",
    }.get(m[0], "minus")  # fmt: skip
