"""German: numbers in words, ordinals in the case that their article asks for, and tables."""

from __future__ import annotations

import re

from glottis.text.germanic.lexis import Lexis, of_units

_SMALL = (
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn"
).split()
_TENS = "_ _ zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()
_GROUPS = "Million Milliarde Billion Billiarde Trillion Trilliarde Quadrillion".split()
LARGEST = 10 ** (6 + 3 * len(_GROUPS)) - 1
"""The largest number with a name; beyond it digits are read one by one."""


def cardinal(number: int) -> str:
    """``1203`` -> "tausend zweihundert drei".

    Hundreds and thousands are words of their own, which is easier to pronounce than to read.
    """
    if number > LARGEST:
        return " ".join(_SMALL[int(digit)] for digit in str(number))
    words = []
    for power in range(len(_GROUPS), 0, -1):
        group = number // 10 ** (3 + 3 * power) % 1000
        if group == 1:
            words.append(f"eine {_GROUPS[power - 1]}")
        elif group:
            name = _GROUPS[power - 1]
            words.append(f"{_below_thousand(group)} {name}{'n' if name[-1] == 'e' else 'en'}")
    thousands, rest = number // 1000 % 1000, number % 1000
    if thousands == 1:
        words.append("eintausend" if words else "tausend")
    elif thousands:
        said = _below_thousand(thousands)
        words.append(f"{said[:-1] if said.endswith('eins') else said}tausend")
    if rest or not words:
        words.append(_below_thousand(rest, bool(words)))
    return " ".join(words)


def _below_thousand(number: int, inside: bool = False) -> str:
    hundreds, rest = divmod(number, 100)
    words = []
    if hundreds:
        first = {1: "ein" if inside else ""}.get(hundreds, _SMALL[hundreds])
        words.append(f"{first}hundert")
    if rest or not hundreds:
        if rest < 20:
            words.append(_SMALL[rest])
        else:
            tens, ones = divmod(rest, 10)
            one = {0: "", 1: "einund"}.get(ones, f"{_SMALL[ones]}und")
            words.append(one + _TENS[tens])
    return " ".join(words)


def _year(number: int) -> str:
    century, rest = divmod(number, 100)
    if not 11 <= century <= 19:
        return cardinal(number)
    return f"{_SMALL[century]}hundert" + (f" {cardinal(rest)}" if rest else "")


def stem(number: int) -> str:
    """An ordinal without its ending: ``3`` -> "dritt"."""
    words, rest = cardinal(number), number % 100
    odd = {1: ("eins", "erst"), 3: ("drei", "dritt"), 7: ("sieben", "siebt"), 8: ("acht", "acht")}
    if rest in odd:
        return words.removesuffix(odd[rest][0]) + odd[rest][1]
    if number % 10**6 == 0:
        words = words.replace("eine ", "ein").replace(" ", "").lower()
        words = re.sub("(?<=on)en$|(?<=rde)n$", "", words)
    return words + ("t" if 0 < rest < 20 else "st")


# "am 2. und 3. Mai" has one article for two.
_AND = r" (?:[0-9]{1,2}\.,? (?:und|oder|bis|sowie) )?$"
_WEAK = re.compile(
    r"\b(?:am|im|vom|zum|zur|beim|ins|ans|aufs|den|dem|des|einem|einen|einer|eines|diesem|diesen|"
    r"dieses|jedem|jeden|jedes|seit|ab|bis|meinem|meinen|seinem|seinen|ihrem|ihren|unserem|unseren|"
    r"(?:in|an|auf|mit|von|nach|bei|zu|aus|vor|seit|unter|hinter|neben|zwischen|während|trotz|"
    r"wegen|anfang|ende|mitte) (?:der|dieser|jeder|meiner|seiner|ihrer|unserer))" + _AND,
    re.I,
)
_WITH_ARTICLE = re.compile(r"\b(?:der|die|das|diese[rs]?|jede[rs]?|eine|welche[rs]?)" + _AND, re.I)


def ordinal(number: int, before: str) -> str:
    """``3`` after "am " -> "dritten", after "der " -> "dritte", alone "dritter"."""
    if _WEAK.search(before):
        ending = "en"
    elif _WITH_ARTICLE.search(before):
        ending = "e"
    else:
        ending = "er"
    return stem(number) + ending


def _date(day: int, month: str, year: int | None, before: str) -> str:
    # "Montag, 3. Mai" and "bis 3. Mai" have no article, but "am Montag, dem 3. Mai" has.
    found = f"{ordinal(day, before)} {month}"
    return found if year is None else f"{found} {_year(year)}"


_MONTHS = (
    "Januar Februar März April Mai Juni Juli August September Oktober November Dezember"
).split()
_SHORT_MONTHS = "Jan Feb Mrz Apr Mai Jun Jul Aug Sept Okt Nov Dez".split()


def _fraction(top: int, bottom: int) -> str | None:
    if bottom == 2:
        return "ein halb" if top == 1 else f"{cardinal(top)} halbe"
    if not 3 <= bottom <= 100:
        return None
    name = f"{stem(bottom)}el".capitalize()
    return f"{'ein' if top == 1 else cardinal(top)} {name}"


_FEMININE = re.compile(r"(?:e|ung|heit|keit|schaft|ion|tät|ik|ur|ei)$")


def _before_noun(word: str) -> str | None:
    """ "1 Woche", "1 Apfel": nouns are told by their capital, most of the feminine by their end."""
    if not word[:1].isupper():
        return None
    return "eine" if _FEMININE.search(word) else "ein"


def _masculine(name: str, several: str = "") -> tuple[str, str]:
    return f"ein {name}", several or name


_METRES = {"": "", "k": "Kilo", "d": "Dezi", "c": "Zenti", "m": "Milli", "µ": "Mikro", "n": "Nano"}
UNITS = of_units(
    {
        **{
            f"{prefix}{symbol}": _masculine(f"{name}{unit}".capitalize())
            for symbol, unit in {"m": "meter", "g": "gramm", "l": "liter"}.items()
            for prefix, name in _METRES.items()
        },
        "hl": _masculine("Hektoliter"),
        "t": ("eine Tonne", "Tonnen"),
        "ha": _masculine("Hektar"),
        "s": ("eine Sekunde", "Sekunden"),
        "Sek.": ("eine Sekunde", "Sekunden"),
        "ms": ("eine Millisekunde", "Millisekunden"),
        "min": ("eine Minute", "Minuten"),
        "min.": ("eine Minute", "Minuten"),
        "Min.": ("eine Minute", "Minuten"),
        "h": ("eine Stunde", "Stunden"),
        "Std.": ("eine Stunde", "Stunden"),
        "km/h": ("ein Kilometer pro Stunde", "Kilometer pro Stunde"),
        "m/s": ("ein Meter pro Sekunde", "Meter pro Sekunde"),
        "kB": _masculine("Kilobyte"),
        "MB": _masculine("Megabyte"),
        "GB": _masculine("Gigabyte"),
        "TB": _masculine("Terabyte"),
        "Hz": _masculine("Hertz"),
        "kHz": _masculine("Kilohertz"),
        "MHz": _masculine("Megahertz"),
        "GHz": _masculine("Gigahertz"),
        "dB": _masculine("Dezibel"),
        "W": _masculine("Watt"),
        "kW": _masculine("Kilowatt"),
        "MW": _masculine("Megawatt"),
        "kWh": ("eine Kilowattstunde", "Kilowattstunden"),
        "V": _masculine("Volt"),
        "A": _masculine("Ampere"),
        "PS": ("ein P S", "P S"),
        "Pa": _masculine("Pascal"),
        "hPa": _masculine("Hektopascal"),
        "kcal": ("eine Kilokalorie", "Kilokalorien"),
        "°C": _masculine("Grad Celsius"),
        "°F": _masculine("Grad Fahrenheit"),
        "°": _masculine("Grad"),
    },
    {"²": "Quadrat", "³": "Kubik"},
)
_CENT = ("ein Cent", "Cent")
_EURO = ("ein Euro", "Euro", *_CENT)
_DOLLAR = ("ein Dollar", "Dollar", *_CENT)
_POUND = ("ein Pfund", "Pfund", "ein Penny", "Pence")
_FRANC = ("ein Franken", "Franken", "ein Rappen", "Rappen")

LEXIS = Lexis(
    cardinal=cardinal,
    ordinal=ordinal,
    decimals=lambda digits: " ".join(_SMALL[int(digit)] for digit in digits),
    one="ein",
    before_noun=_before_noun,
    digits=tuple(_SMALL[:10]),
    month_names=tuple(_MONTHS),
    months={
        **dict(zip(_SHORT_MONTHS, _MONTHS, strict=True)),
        **{name: name for name in _MONTHS},
        "Sep": "September",
        "Jänner": "Jänner",
        "Feber": "Feber",
    },
    units=UNITS,
    currencies={
        "€": _EURO,
        "EUR": _EURO,
        "Euro": _EURO,
        "$": _DOLLAR,
        "US-$": ("ein US-Dollar", "US-Dollar", *_CENT),
        "USD": ("ein US-Dollar", "US-Dollar", *_CENT),
        "£": _POUND,
        "GBP": _POUND,
        "CHF": _FRANC,
        "Fr.": _FRANC,
        "¥": ("ein Yen", "Yen", "", ""),
        "DM": ("eine D-Mark", "D-Mark", "ein Pfennig", "Pfennig"),
        "ct": (*_CENT, "", ""),
        "Ct.": (*_CENT, "", ""),
    },
    scales={
        "Tsd.": ("tausend", "tausend"),
        "Mio.": ("Million", "Millionen"),
        "Mrd.": ("Milliarde", "Milliarden"),
        "Bio.": ("Billion", "Billionen"),
        "Million": ("Million", "Millionen"),
        "Millionen": ("Million", "Millionen"),
        "Milliarde": ("Milliarde", "Milliarden"),
        "Milliarden": ("Milliarde", "Milliarden"),
    },
    abbreviations={
        "z.B.": "zum Beispiel", "d.h.": "das heißt", "u.a.": "unter anderem",
        "v.a.": "vor allem", "u.Ä.": "und Ähnliches", "o.Ä.": "oder Ähnliches",
        "z.T.": "zum Teil", "z.Zt.": "zur Zeit", "z.Z.": "zur Zeit", "i.d.R.": "in der Regel",
        "u.U.": "unter Umständen", "m.E.": "meines Erachtens", "i.A.": "im Auftrag",
        "a.D.": "außer Dienst", "s.o.": "siehe oben", "s.u.": "siehe unten",
        "o.g.": "oben genannt", "v.Chr.": "vor Christus", "n.Chr.": "nach Christus",
        "u.s.w.": "und so weiter", "usw.": "und so weiter", "usf.": "und so fort",
        "etc.": "et cetera", "bzw.": "beziehungsweise", "ca.": "circa", "vgl.": "vergleiche",
        "evtl.": "eventuell", "ggf.": "gegebenenfalls", "inkl.": "inklusive",
        "exkl.": "exklusive", "max.": "maximal", "min.": "mindestens", "sog.": "sogenannte",
        "geb.": "geboren", "gest.": "gestorben", "Dr.": "Doktor", "Prof.": "Professor",
        "Dipl.-Ing.": "Diplomingenieur", "Ing.": "Ingenieur", "Hr.": "Herr", "Hrn.": "Herrn",
        "Fr.": "Frau", "St.": "Sankt", "Str.": "Straße", "str.": "straße", "Nr.": "Nummer",
        "Tel.": "Telefon", "Jh.": "Jahrhundert", "Jhd.": "Jahrhundert", "Mio.": "Millionen",
        "Mrd.": "Milliarden", "Tsd.": "tausend", "jr.": "junior", "sen.": "senior",
        "gem.": "gemäß", "lt.": "laut", "bspw.": "beispielsweise", "insb.": "insbesondere",
        "Std.": "Stunden", "Min.": "Minuten", "Sek.": "Sekunden",
        **{f"{short}.": name for short, name in zip(_SHORT_MONTHS, _MONTHS, strict=True)
           if short not in ("Jan", "Mai", "Jun", "Jul")},
    },
    before_number={
        "S.": "Seite", "Bd.": "Band", "Abb.": "Abbildung", "Kap.": "Kapitel", "Art.": "Artikel",
        "Abs.": "Absatz", "Tab.": "Tabelle", "Nrn.": "Nummern", "No.": "Nummer", "H.": "Heft",
    },
    signs={
        "&": "und", "+": "plus", "=": "gleich", "@": "at", "%": "Prozent", "‰": "Promille",
        "§": "Paragraf", "§§": "Paragrafen", "©": "Copyright", "®": "registriert", "™": "Marke",
        "°": "Grad", "±": "plus minus", "×": "mal", "÷": "geteilt durch", "≈": "ungefähr",
        "≠": "ungleich", "≤": "kleiner gleich", "≥": "größer gleich", "<": "kleiner als",
        ">": "größer als", "€": "Euro", "$": "Dollar", "£": "Pfund", "¥": "Yen", "¢": "Cent",
        "−": "minus", "²": "Quadrat", "³": "hoch drei", "№": "Nummer", "∞": "unendlich",
        "→": "nach", "#": "Nummer",
    },
    date=_date,
    year=_year,
    decade=lambda words: f"{words}er",
    fraction=_fraction,
    comma="Komma",
    minus="minus",
    plus="plus",
    to="bis",
    by="mal",
    times="mal",
    percent="Prozent",
    per_mille="Promille",
    clock="Uhr",
    seconds=("Sekunde", "Sekunden"),
    dot="Punkt",
    at="at",
    slash="Schrägstrich",
)  # fmt: skip
