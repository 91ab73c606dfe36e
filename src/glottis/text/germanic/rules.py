"""What German and Dutch texts hold beside words, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from glottis.text import scanning
from glottis.text.germanic import dutch, german
from glottis.text.germanic.lexis import Lexis
from glottis.text.scanning import (
    Rule,
    Scanner,
    Spoken,
    closing_stop,
    either,
    pause,
    roman_value,
    saying,
)
from glottis.text.sentences import starts_sentence
from glottis.text.tokens import Token

LEXES = {"de": german.LEXIS, "nl": dutch.LEXIS}


@dataclass(frozen=True)
class Scene(scanning.Scene):
    """The text around a match, and the words of its language."""

    lexis: Lexis


def read(text: str, language: str, start: int = 0, end: int | None = None) -> Iterator[Token | str]:
    """What is said for ``text[start:end]`` (cleaned): tokens, and characters that nobody can say.

    ``language`` is ``de`` or ``nl``, with or without a region.
    """
    base = language.replace("_", "-").lower().split("-")[0]
    scene = Scene(text, base, LEXES[base])
    return _scanner(base).read(scene, start, len(text) if end is None else end)


# --- dates and times -----------------------------------------------------------------------------


def _date(m: re.Match[str], scene: Scene) -> Spoken:
    """In figures; the second is the month. Without a year the stop behind it may end a sentence."""
    day, month = int(m["d"]), int(m["m"])
    if not (1 <= day <= 31 and 1 <= month <= 12):
        return None
    lexis, before = scene.lexis, scene.before(m.start())
    year = m.groupdict().get("y")
    value = None if year is None else _full_year(year)
    words = lexis.date(day, lexis.month_names[month - 1], value, before)
    return [Token(m[0], words), *closing_stop(m, m[0], scene)]


def _full_year(written: str) -> int:
    value = int(written)
    return value + (2000 if value < 50 else 1900) if len(written) == 2 else value


def _day_month(m: re.Match[str], scene: Scene) -> Spoken:
    if not 1 <= int(m["d"]) <= 31:
        return None
    lexis, year = scene.lexis, m["y"]
    month = lexis.months[m["month"]]
    before = scene.before(m.start())
    words = lexis.date(int(m["d"]), month, int(year) if year else None, before)
    return [Token(m[0], words), *(closing_stop(m, m[0], scene) if not year else [])]


def _time(m: re.Match[str], scene: Scene) -> Spoken:
    lexis = scene.lexis
    hour, minute = int(m["h"]), int(m["min"] or 0)
    if hour > 24:
        return None
    words = f"{lexis.one if hour == 1 else lexis.cardinal(hour)} {lexis.clock}"
    if minute:
        words += f" {lexis.cardinal(minute)}"
    second = m.groupdict().get("s")
    if second:
        one, many = lexis.seconds
        named = one if int(second) == 1 else many
        words += f" {lexis.signs['&']} {lexis.cardinal(int(second))} {named}"
    return words


def _decade(m: re.Match[str], scene: Scene) -> Spoken:
    """ "1990er", "80er-Jahre"."""
    return scene.lexis.decade(_year_or_number(m["n"], scene)) + m["end"]


# --- telephone, money, measures, percent ---------------------------------------------------------


def _telephone(m: re.Match[str], scene: Scene) -> Spoken:
    tokens: list[Token] = []
    for group in re.findall(r"\+?[0-9]+", m[0]):
        if tokens:
            tokens.append(Token("", ","))
        plus = f"{scene.lexis.plus} " if group[0] == "+" else ""
        tokens.append(Token(group, plus + scene.lexis.spell(group)))
    return tokens


def _money(m: re.Match[str], scene: Scene) -> Spoken:
    """ "3,50 €" and "€ 3,50", "5 Mio. Euro", "3,- €", "20-30 €"."""
    lexis = scene.lexis
    one, many, cent, cents = lexis.currencies[m["sign"]]
    amount, scale, high = m["n"], m["scale"], m["to"]
    whole, _, decimals = amount.partition(",")
    if high:
        words = f"{lexis.number(amount)} {lexis.to} {lexis.number(high)}"
        return f"{words} {_scaled(high, scale, lexis)} {many}".replace("  ", " ")
    if scale:
        return f"{_with_scale(amount, scale, lexis)} {many}"
    if len(decimals) != 2 or not cent:
        return one if amount == "1" else f"{lexis.number(amount)} {many}"
    minus = f"{lexis.minus} " if whole[:1] in "-−" else ""
    euros = whole.lstrip("-−+ ")
    if not int(decimals):
        return minus + (one if euros == "1" else f"{lexis.number(euros)} {many}")
    if not euros.strip("0"):
        return minus + (cent if decimals == "01" else f"{lexis.cardinal(int(decimals))} {cents}")
    said = one if euros == "1" else f"{lexis.number(euros)} {many}"
    return f"{minus}{said} {lexis.cardinal(int(decimals))}"


def _scaled(amount: str, scale: str | None, lexis: Lexis) -> str:
    return lexis.scales[scale][amount != "1"] if scale else ""


def _with_scale(amount: str, scale: str, lexis: Lexis) -> str:
    # "eine Million", "één miljoen"
    one = "eine" if lexis is german.LEXIS and scale not in ("Tsd.",) else lexis.one
    return f"{lexis.number(amount, one)} {_scaled(amount, scale, lexis)}"


def _scale(m: re.Match[str], scene: Scene) -> Spoken:
    words = _with_scale(m["n"], m["scale"], scene.lexis)
    if m["to"]:
        words = f"{scene.lexis.number(m['n'])} {scene.lexis.to} "
        words += f"{scene.lexis.number(m['to'])} {_scaled(m['to'], m['scale'], scene.lexis)}"
    return [Token(m[0], words), *closing_stop(m, m[0], scene)]


def _measure(m: re.Match[str], scene: Scene) -> Spoken:
    symbol, lexis = m["unit"], scene.lexis
    if (
        len(symbol) == 1
        and symbol in "stAVWh"
        and not re.match(r"\s*(?:[.,;:)?!]|$|[a-zà-ÿ])", scene.after(m.end()))
    ):
        return None  # "5 A" may be a name; "5 s" before a noun is none
    one, many = lexis.units[symbol]
    if m["to"]:
        words = f"{lexis.number(m['n'])} {lexis.to} {lexis.number(m['to'])} {many}"
    elif m["n"] == "1":
        words = one
    else:
        words = f"{lexis.number(m['n'], lexis.one)} {many}"
    return [Token(m[0], words), *closing_stop(m, m[0], scene)]


def _percent(m: re.Match[str], scene: Scene) -> Spoken:
    lexis = scene.lexis
    words = lexis.number(m["n"], lexis.one)
    if m["to"]:
        words = f"{lexis.number(m['n'])} {lexis.to} {lexis.number(m['to'])}"
    return f"{words} {lexis.per_mille if m['sign'] == '‰' else lexis.percent}"


# --- numbers -------------------------------------------------------------------------------------


def _dotted_ordinal(m: re.Match[str], scene: Scene) -> Spoken:
    """ "3. Mann", "2. und 3."; not "Kapitel 3. Das" or a number at the end of a sentence."""
    following, before = scene.after(m.end()), scene.before(m.start())
    number = int(m["n"].replace(".", ""))
    if not following.strip(" \"')") and re.search(r"\b(?:am|vom|zum|dem|den) $", before, re.I):
        return [Token(m[0], scene.lexis.ordinal(number, before)), Token("", ".")]
    if not re.match(r"\s+[^\W\d_]|\s*[,;)–-]\s?\S", following):
        return None
    if re.match(r"\s+[A-ZÄÖÜ]", following) and starts_sentence(scene.text, m.end()):
        return None
    return scene.lexis.ordinal(number, before)


def _ordinal(m: re.Match[str], scene: Scene) -> Spoken:
    return scene.lexis.ordinal(int(m["n"].replace(".", "")), "")


def _roman(m: re.Match[str], scene: Scene) -> Spoken:
    """ "Ludwig XIV.", "II. Weltkrieg", "Willem II", "XIXe eeuw"."""
    value, lexis = roman_value(m["roman"]), scene.lexis
    if not value or (m["end"] not in ("", ".") and len(m["roman"]) < 2):
        return None
    before, after = scene.before(m.start()), scene.after(m.end())
    name = re.search(r"\b([A-ZÄÖÜ][a-zäöüßéë]+) $", before)
    if name and name[1] in _NO_NAMES:
        name = None
    if not m["end"]:
        if name and value < 40 and len(m["roman"]) > 1:
            called = lexis is dutch.LEXIS and name[1] not in _NUMBERED
            return f"de {lexis.ordinal(value, '')}" if called else lexis.cardinal(value)
        return None
    closing = closing_stop(m, m[0], scene) or ([] if after.strip() else [Token("", ".")])
    if name and name[1] not in _NUMBERED and m["end"] == ".":
        if starts_sentence(scene.text, m.end()) and len(m["roman"]) == 1:
            return None  # "Vitamin C. Das"
        return [Token(m[0], f"der {lexis.ordinal(value, 'der ').capitalize()}"), *closing]
    if m["end"] != "." or re.match(r" [A-ZÄÖÜ][a-zäöü]", after):
        return lexis.ordinal(value, before)
    return None


# Before these a numeral counts; it is no king's.
_NUMBERED = frozenset(
    str.split(
        """Kapitel Teil Band Buch Akt Szene Artikel Abschnitt Klasse Typ Stufe Weltkrieg Nummer
        Hoofdstuk Deel Boek Akte Artikel Klasse Type Niveau Wereldoorlog Nummer
        """
    )
)


_NO_NAMES = frozenset(
    "Der Die Das Den Dem Des Im Am Zum Vom Ein Eine In Und De Het Een Op Van En".split()
)


def _vulgar(m: re.Match[str], scene: Scene) -> Spoken:
    top, bottom = _VULGAR[m["vulgar"]]
    said = scene.lexis.fraction(top, bottom)
    if not m["whole"]:
        return said
    if scene.language == "de" and (top, bottom) == (1, 2):
        whole = scene.lexis.cardinal(int(m["whole"]))
        return f"{whole.removesuffix('s') if whole.endswith('eins') else whole}einhalb"
    joint = scene.lexis.signs["&"]
    return f"{scene.lexis.cardinal(int(m['whole']))} {joint} {said}"


_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5),
    "⅗": (3, 5), "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8),
    "⅝": (5, 8), "⅞": (7, 8), "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip


def _fraction(m: re.Match[str], scene: Scene) -> Spoken:
    top, bottom = int(m["top"]), int(m["bottom"])
    return scene.lexis.fraction(top, bottom) if top < bottom else None


def _range(m: re.Match[str], scene: Scene) -> Spoken:
    low, high = (_year_or_number(m[part], scene) for part in ("n", "to"))
    return f"{low} {scene.lexis.to} {high}"


def _score(m: re.Match[str], scene: Scene) -> Spoken:
    joint = " zu " if scene.language == "de" else " "
    return joint.join(scene.lexis.cardinal(int(m[part])) for part in ("a", "b"))


def _dotted_number(m: re.Match[str], scene: Scene) -> Spoken:
    """ "2.1.3", "192.168.1.1": versions, sections and addresses; not "1.234.567"."""
    if re.fullmatch(r"[1-9][0-9]{0,2}(?:\.[0-9]{3})+", m[0]):
        return None
    parts = (scene.lexis.number(part) for part in m[0].split("."))
    return f" {scene.lexis.dot} ".join(parts)


def _number(m: re.Match[str], scene: Scene) -> Spoken:
    lexis, written = scene.lexis, m[0]
    if written == "1":
        noun = re.match(r" ([^\W\d_]+)", scene.after(m.end()))
        said = lexis.before_noun(noun[1]) if noun else None
        if said:
            return said
    return _year_or_number(written, scene)


def _year_or_number(written: str, scene: Scene) -> str:
    """1100 to 1999 without a stop are read by their hundreds, whatever they count."""
    if re.fullmatch("1[1-9][0-9]{2}", written):
        return scene.lexis.year(int(written))
    return scene.lexis.number(written)


# --- words and signs -----------------------------------------------------------------------------


def _word(m: re.Match[str], scene: Scene) -> Spoken:
    return m[0]


def _capitals(m: re.Match[str], scene: Scene) -> Spoken:
    """Acronyms letter by letter ("USA", "EDV") or as a word ("NATO", and capitals for emphasis)."""
    letters = m[0]
    if letters in _SAID_AS_WORDS or scene.before(m.start(), 3).strip()[-2:].isupper():
        return letters
    if len(letters) > 3 and re.search("[AEIOUYÄÖÜ]", letters) and letters not in _SPELLED:
        return letters
    return " ".join(letters)


_SPELLED = frozenset("ADAC EDEKA DDR UdSSR ANWB KNMI KLM AIVD".split())
_SAID_AS_WORDS = frozenset(
    str.split(
        """NATO NAVO UNO NASA PIN ZIP BUND TÜV ISO VIP SIM DER DIE DAS UND NEIN JA IST EIN ICH DU
        ER SIE ES WIR IHR NICHT AUF MIT VON BEI ZU IN AN HET DE EEN EN NEE WEL NIET IK JIJ WIJ
        HIJ ZIJ MAAR OOK WAS BIN HAT
        """
    )
)


def _abbreviation(m: re.Match[str], scene: Scene) -> Spoken:
    written = m[0].replace(" ", "")
    found = scene.lexis.abbreviations
    said = found.get(written)
    if said is None and written not in _NAMES:
        said = found.get(written[0].lower() + written[1:])
    if said is None:
        return None
    if written[0].isupper() and written not in found:
        said = said[0].upper() + said[1:]  # it begins a sentence
    if written == "Fr." and not re.match(r"\s[A-ZÄÖÜ]", scene.after(m.end())):
        return None
    return [Token(m[0], said), *closing_stop(m, m[0], scene)]


# With a capital these are people.
_NAMES = frozenset({"Max.", "Jan.", "Min.", "Gem.", "Lt.", "Str."})


def _before_number(m: re.Match[str], scene: Scene) -> Spoken:
    return scene.lexis.before_number.get(m["short"])


def _mixed(m: re.Match[str], scene: Scene) -> Spoken:
    """Letters and digits in one word ("A4", "MP3"): runs are read by themselves."""
    parts = re.findall(r"[^\W\d_]+|[0-9]+", m[0])
    return " ".join(
        scene.lexis.number(part)
        if part[0].isdecimal()
        else " ".join(part)
        if part.isupper() and len(part) < 4
        else part
        for part in parts
    )


def _address(m: re.Match[str], scene: Scene) -> Spoken:
    written = re.sub(r"^(?:https?|ftp)://", "", m[0], flags=re.I).rstrip("/")
    lexis, words = scene.lexis, []
    named = {
        ".": lexis.dot,
        "@": lexis.at,
        "/": lexis.slash,
        "-": lexis.minus,
        "&": lexis.signs["&"],
    }
    for part in re.findall(r"[^\W\d_]+|[0-9]+|[^\s]", written):
        if part.isdecimal():
            words.append(lexis.spell(part))
        elif part.isalpha():
            words.append("W W W" if part.lower() == "www" else part)
        else:
            words.append(named.get(part, ""))
    return " ".join(word for word in words if word)


def _sign(m: re.Match[str], scene: Scene) -> Spoken:
    return scene.lexis.signs[m[0]]


def _to(m: re.Match[str], scene: Scene) -> Spoken:
    return scene.lexis.to


def _times(m: re.Match[str], scene: Scene) -> Spoken:
    return scene.lexis.times


def _initial(m: re.Match[str], scene: Scene) -> Spoken:
    """ "A. Merkel", "J. S. Bach"; not "Vitamin C. Das"."""
    return None if starts_sentence(scene.text, m.end()) else m[0][0]


def _by(m: re.Match[str], scene: Scene) -> Spoken:
    return scene.lexis.by


# --- the rules -----------------------------------------------------------------------------------

_LETTER = r"A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿ\u0300-\u036f"
_DECIMAL = r"(?:[0-9]{1,3}(?:[.'][0-9]{3})+(?![0-9])|[0-9]+)(?:,[0-9]+)?"
# A sign belongs to a number only where nothing can be subtracted from.
_N = rf"(?P<n>(?:(?<![\w.,)%°\]])[-−+±])?(?:{_DECIMAL}))"
_TO = rf"(?:\s?[-–]\s?(?P<to>{_DECIMAL}))?"
_START = r"(?<![\w.,])"
_END = r"(?![^\W_])"


@cache
def _scanner(language: str) -> Scanner:
    return Scanner(_rules(LEXES[language], language))


def _rules(lexis: Lexis, language: str) -> list[Rule]:
    """In order; see :class:`~glottis.text.scanning.Scanner`."""
    months = rf"(?P<month>(?:{either(lexis.months)})\b)\.?"
    units, scales = either(lexis.units), either(lexis.scales)
    signs = either(sign for sign in lexis.currencies if not sign[0].isalpha())
    codes = either(lexis.currencies)
    scale = rf"(?:\s?(?P<scale>{scales}){_END})?"
    # Inner stops may have a space behind them, and any may begin a sentence.
    short = "|".join(
        r"\. ?".join(map(re.escape, key.rstrip(".").split("."))) + (r"\." if key[-1] == "." else "")
        for key in sorted(lexis.abbreviations, key=lambda key: -len(key))
    )
    numbered = either(lexis.before_number)
    hour = r"(?P<h>[0-9]{1,2})"
    written = rf"{lexis.clock}|h|u\.?" if language == "nl" else lexis.clock
    clock = rf"\s?(?:{written}){_END}"
    year = r"(?P<y>[0-9]{4}|[0-9]{2})"
    date = [
        rf"{_START}(?P<d>[0-9]{{1,2}})\.\s?(?P<m>[0-9]{{1,2}})\.\s?{year}{_END}",
        rf"{_START}(?P<y>[12][0-9]{{3}})-(?P<m>[0-9]{{2}})-(?P<d>[0-9]{{2}})(?![\w-])",
    ]
    if language == "nl":
        date.append(
            rf"{_START}(?P<d>[0-9]{{1,2}})(?P<by>[-/])(?P<m>[0-9]{{1,2}})(?P=by)"
            rf"{year}(?![\w-])"
        )
    else:
        date.append(rf"{_START}(?P<d>[0-9]{{1,2}})\.\s?(?P<m>[0-9]{{1,2}})\.(?![0-9])")
    stop = r"\." if language == "de" else r"(?:ste|de|e)?"
    ordinal = rf"{_START}(?P<n>[0-9]{{1,3}}(?:\.[0-9]{{3}}){{0,4}})"
    ordinal += r"\.(?=[\s,;)–-]|$)" if language == "de" else rf"(?:ste|de|e){_END}"
    return [
        # A sign between two numbers, the letter x among them, so before any word.
        ("a+", r"(?<=[0-9] )[x×*](?= [0-9])|(?<=[0-9])[x×](?=[0-9])", _by),
        ("0", r"(?<![\w.,])[0-9]{1,9}(?=x(?:[0-9]|(?![^\W_])))", _number),
        ("a", r"(?<=[0-9])x(?![^\W_])|(?<=[0-9] )x(?=\s)", _times),
        # Most words: lower case with nothing special behind. Early because it is fast.
        ("a", r"[a-zß-öø-ÿ]+(?=[ ,;\n]|$)", _word),
        ("a", r"(?:https?://|ftp://|www\.)[^\s<>\"]*[^\s<>\".,;:!?)\]'*]", _address),
        ("a0", r"(?<![\w.])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,9}(?<![.-])", _address),
        (
            "a0",
            r"(?<![\w.@])(?:[A-Za-z0-9-]{1,63}\.){1,9}(?:com|org|net|edu|gov|info|eu|de|at|ch|nl|be"
            r"|io|app|tv|html?|pdf|txt)(?![\w-])(?!\.[a-z])(?:/[^\s<>\"]*[^\s<>\".,;:!?)\]'])?",
            _address,
        ),
        ("a", rf"(?<![{_LETTER}.])(?i:{short})(?![{_LETTER}]|\.[{_LETTER}])", _abbreviation),
        ("a", rf"(?<![{_LETTER}.])(?P<short>{numbered})(?=\s?[0-9])", _before_number),
        # Dates and times
        *[("0", pattern, _date) for pattern in date],
        (
            "0",
            rf"{_START}(?P<d>[0-9]{{1,2}}){stop}\s{months}(?:\s(?P<y>[12][0-9]{{3}}){_END})?",
            _day_month,
        ),
        (
            "0",
            rf"(?<![\w:.,]){hour}[:.](?P<min>[0-5][0-9])(?::(?P<s>[0-5][0-9]))?{clock}",
            _time,
        ),
        (
            "0",
            rf"(?<![\w:.,]){hour}:(?P<min>[0-5][0-9])(?::(?P<s>[0-5][0-9]))?(?![0-9:]){_END}",
            _time,
        ),
        ("0", rf"(?<![\w:.,]){hour}[uh](?P<min>[0-5][0-9])?{_END}", _time)
        if language == "nl"
        else ("0", rf"(?<![\w:.,]){hour}(?P<min>){clock}", _time),
        ("0", rf"(?<![\w:.,]){hour}(?P<min>)\s?{lexis.clock}{_END}", _time),
        ("0", rf"{_START}(?P<n>[0-9]{{2,4}})er(?P<end>[ns]?){_END}", _decade),
        # Telephone
        ("+", r"(?<![\w.])\+[0-9][0-9 ()./-]{6,18}[0-9](?![0-9])", _telephone),
        ("0", r"(?<![\w.,-])0[0-9]{1,5}[ /-]\s?[0-9](?:[ -]?[0-9]){3,10}(?![\w-])", _telephone),
        # Money
        ("0+", rf"{_N}{_TO}(?:,(?:-|–|—){{1,2}})?{scale}\s?(?P<sign>{codes}){_END}", _money),
        (
            "+a",
            rf"(?<!\w)(?P<sign>{codes if language == 'nl' else signs})\s?"
            rf"(?P<n>[-−]?{_DECIMAL}){_TO}(?:,(?:-|–|—){{1,2}})?{scale}(?![0-9])",
            _money,
        ),
        # Measures
        ("0+", rf"{_N}{_TO}\s?(?P<sign>%|‰|{lexis.percent}\b)", _percent),
        ("0+", rf"{_N}{_TO}\s?(?P<scale>{scales}){_END}", _scale),
        ("0+", rf"{_N}{_TO}\s?(?P<unit>{units})(?![{_LETTER}0-9²³/])", _measure),
        # Numbers
        ("0", ordinal, _dotted_ordinal if language == "de" else _ordinal),
        (
            "0+",
            rf"(?<![\w./])(?:(?P<whole>[0-9]{{1,6}})\s?)?(?P<vulgar>[{''.join(_VULGAR)}])",
            _vulgar,
        ),
        (
            "0",
            r"(?<![\w./,])(?P<top>[0-9]{1,2})/(?P<bottom>[0-9]{1,3})(?![\w/]|[.,][0-9])",
            _fraction,
        ),
        ("0", r"(?<![\w.,])[0-9]{1,4}(?:\.[0-9]{1,4})+(?!\w|[.,][0-9])", _dotted_number),
        (
            "0+",
            rf"(?<![\w.,])(?P<n>{_DECIMAL})\s?[-–]\s?(?P<to>{_DECIMAL})(?![\w-]|[.,][0-9])",
            _range,
        ),
        ("0", r"(?<![\w:.,])(?P<a>[0-9]{1,3}):(?P<b>[0-9]{1,3})(?![\w:])", _score),
        ("0+", rf"(?<![{_LETTER}]){_N}{_END}", _number),
        # Names
        ("a", r"(?<![\w.'-])[A-ZÄÖÜ]\.(?=\s?[A-ZÄÖÜ][\w.])", _initial),
        (
            "a",
            r"(?<![\w'.-])(?P<roman>[IVXLCDM]{1,15})(?P<end>\.(?![\w])|)(?![\w'-])"
            if language == "de"
            else r"(?<![\w'.-])(?P<roman>[IVXLCDM]{1,15})(?P<end>e|de|ste|)(?![\w'-])",
            _roman,
        ),
        (
            "a0",
            rf"(?<!\w)(?=[{_LETTER}]*[0-9])[{_LETTER}0-9]+{_END}",
            _mixed,
        ),
        ("0", r"[0-9]+", _number),
        ("a", rf"(?<![\w'-])[A-ZÄÖÜ]{{2,5}}(?![{_LETTER}'])(?!-[A-ZÄÖÜ]{{2}})", _capitals),
        *([("+", r"(?<![\w'])'(?:t|n|s)\b", _word)] if language == "nl" else []),
        ("a", rf"[{_LETTER}]+(?:['-][{_LETTER}]+)*", _word),
        # Signs
        ("+", r"\n[^\S\n]*\n\s*|[\f\u2028\u2029]+", saying(".")),
        ("+", r"[.?!]+(?:[ ]?[.?!])*|[,;:]+", pause),
        ("+", r"(?<=[0-9%°])[-–](?=[0-9€$£])|(?<=[0-9%°] )[-–](?= [0-9€$£])", _to),
        ("+", r"--+|—+|(?<=\s)[-–]+(?=\s)|–", saying(";")),
        ("+", r"(?<!\w)[(\[{]|[)\]}](?!\w)|[|\n•▪●·]+(?=\s)", saying(",")),
        ("+", rf"(?:{either(lexis.signs)})", _sign),
        ("+", r"[\"'()\[\]{}*_~`|\\/•▪●·\-–¿¡†‡←↑↓⇒^\ufffd\u0300-\u036f\s⁰¹⁴-⁹⁺⁻]", saying("")),
    ]  # fmt: skip
