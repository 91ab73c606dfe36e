"""Dutch: numbers in words, and tables."""

from __future__ import annotations

from glottis.text.germanic.lexis import Lexis, of_units

_SMALL = (
    "nul één twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien "
    "zestien zeventien achttien negentien"
).split()
_TENS = "_ _ twintig dertig veertig vijftig zestig zeventig tachtig negentig".split()
_GROUPS = "miljoen miljard biljoen biljard triljoen triljard quadriljoen".split()
LARGEST = 10 ** (6 + 3 * len(_GROUPS)) - 1
"""The largest number with a name; beyond it digits are read one by one."""


def cardinal(number: int) -> str:
    """``1203`` -> "duizend tweehonderd drie"; hundreds and thousands are words of their own."""
    if number > LARGEST:
        return " ".join(_SMALL[int(digit)] for digit in str(number))
    words = []
    for power in range(len(_GROUPS), 0, -1):
        group = number // 10 ** (3 + 3 * power) % 1000
        if group:
            words.append(f"{_below_thousand(group)} {_GROUPS[power - 1]}")
    thousands, rest = number // 1000 % 1000, number % 1000
    if thousands == 1:
        words.append("duizend")
    elif thousands:
        words.append(f"{_below_thousand(thousands)}duizend")
    if rest or not words:
        words.append(_below_thousand(rest))
    return " ".join(words)


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = []
    if hundreds:
        words.append(f"{_SMALL[hundreds] if hundreds > 1 else ''}honderd")
    if rest or not hundreds:
        if rest < 20:
            words.append(_SMALL[rest])
        else:
            tens, ones = divmod(rest, 10)
            # Two vowels that meet are kept apart: tweeëntwintig.
            joined = {0: "", 1: "eenen", 2: "tweeën", 3: "drieën"}.get(ones, f"{_SMALL[ones]}en")
            words.append(joined + _TENS[tens])
    return " ".join(words)


def _year(number: int) -> str:
    century, rest = divmod(number, 100)
    if not 11 <= century <= 19:
        return cardinal(number)
    return f"{_SMALL[century]}honderd" + (f" {cardinal(rest)}" if rest else "")


def ordinal(number: int, before: str = "") -> str:
    """``8`` -> "achtste"; Dutch ordinals have one form."""
    words, rest = cardinal(number), number % 100
    odd = {1: ("één", "eerste"), 3: ("drie", "derde"), 8: ("acht", "achtste")}
    if rest in odd:
        return words.removesuffix(odd[rest][0]) + odd[rest][1]
    return words + ("de" if 0 < rest < 20 else "ste")


_MONTHS = (
    "januari februari maart april mei juni juli augustus september oktober november december"
).split()
_SHORT_MONTHS = "jan feb mrt apr mei jun jul aug sept okt nov dec".split()


def _date(day: int, month: str, year: int | None, before: str) -> str:
    found = f"{cardinal(day)} {month}"
    return found if year is None else f"{found} {_year(year)}"


def _decimals(digits: str) -> str:
    if len(digits) == 2 and digits[0] != "0":
        return cardinal(int(digits))
    return " ".join(_SMALL[int(digit)] for digit in digits)


def _fraction(top: int, bottom: int) -> str | None:
    if bottom == 2:
        return "een half" if top == 1 else f"{cardinal(top)} halve"
    if not 3 <= bottom <= 100:
        return None
    name = "kwart" if (top, bottom) == (1, 4) else ordinal(bottom)
    return f"{'een' if top == 1 else cardinal(top)} {name}"


def _same(name: str) -> tuple[str, str]:
    """Most units have one form: vijf kilometer."""
    return f"één {name}", name


_METRES = {"": "", "k": "kilo", "d": "deci", "c": "centi", "m": "milli", "µ": "micro", "n": "nano"}
UNITS = of_units(
    {
        **{
            f"{prefix}{symbol}": _same(name + unit)
            for symbol, unit in {"m": "meter", "g": "gram", "l": "liter"}.items()
            for prefix, name in _METRES.items()
        },
        "hl": _same("hectoliter"),
        "t": _same("ton"),
        "ha": _same("hectare"),
        "s": ("één seconde", "seconden"),
        "sec.": ("één seconde", "seconden"),
        "ms": ("één milliseconde", "milliseconden"),
        "min": ("één minuut", "minuten"),
        "min.": ("één minuut", "minuten"),
        "h": _same("uur"),
        "km/h": _same("kilometer per uur"),
        "km/u": _same("kilometer per uur"),
        "m/s": _same("meter per seconde"),
        "kB": _same("kilobyte"),
        "MB": _same("megabyte"),
        "GB": _same("gigabyte"),
        "TB": _same("terabyte"),
        "Hz": _same("hertz"),
        "kHz": _same("kilohertz"),
        "MHz": _same("megahertz"),
        "GHz": _same("gigahertz"),
        "dB": _same("decibel"),
        "W": _same("watt"),
        "kW": _same("kilowatt"),
        "MW": _same("megawatt"),
        "kWh": ("één kilowattuur", "kilowattuur"),
        "V": _same("volt"),
        "A": _same("ampère"),
        "pk": ("één paardenkracht", "paardenkracht"),
        "Pa": _same("pascal"),
        "hPa": _same("hectopascal"),
        "kcal": ("één kilocalorie", "kilocalorieën"),
        "°C": ("één graad Celsius", "graden Celsius"),
        "°F": ("één graad Fahrenheit", "graden Fahrenheit"),
        "°": ("één graad", "graden"),
    },
    {"²": "vierkante ", "³": "kubieke "},
)
_CENT = _same("cent")
_EURO = (*_same("euro"), *_CENT)
_DOLLAR = (*_same("dollar"), *_CENT)
_POUND = (*_same("pond"), "één penny", "pence")

LEXIS = Lexis(
    cardinal=cardinal,
    ordinal=ordinal,
    decimals=_decimals,
    one="één",
    before_noun=lambda word: None,
    digits=tuple(_SMALL[:10]),
    month_names=tuple(_MONTHS),
    months={
        **dict(zip(_SHORT_MONTHS, _MONTHS, strict=True)),
        **{name: name for name in _MONTHS},
        "sep": "september",
    },
    units=UNITS,
    currencies={
        "€": _EURO,
        "EUR": _EURO,
        "euro": _EURO,
        "$": _DOLLAR,
        "US$": ("één Amerikaanse dollar", "Amerikaanse dollar", *_CENT),
        "USD": ("één Amerikaanse dollar", "Amerikaanse dollar", *_CENT),
        "£": _POUND,
        "GBP": _POUND,
        "CHF": (*_same("Zwitserse frank"), "", ""),
        "¥": (*_same("yen"), "", ""),
        "ct": (*_CENT, "", ""),
    },
    scales={
        "mln.": ("miljoen", "miljoen"),
        "mln": ("miljoen", "miljoen"),
        "mld.": ("miljard", "miljard"),
        "mld": ("miljard", "miljard"),
        "miljoen": ("miljoen", "miljoen"),
        "miljard": ("miljard", "miljard"),
        "duizend": ("duizend", "duizend"),
    },
    abbreviations={
        "bijv.": "bijvoorbeeld", "bv.": "bijvoorbeeld", "d.w.z.": "dat wil zeggen",
        "o.a.": "onder andere", "o.m.": "onder meer", "enz.": "enzovoort", "etc.": "et cetera",
        "m.a.w.": "met andere woorden", "t.a.v.": "ten aanzien van",
        "m.b.t.": "met betrekking tot", "i.v.m.": "in verband met", "i.p.v.": "in plaats van",
        "n.a.v.": "naar aanleiding van", "m.u.v.": "met uitzondering van",
        "t.o.v.": "ten opzichte van", "i.h.b.": "in het bijzonder", "z.s.m.": "zo snel mogelijk",
        "a.u.b.": "alstublieft", "s.v.p.": "alstublieft", "i.t.t.": "in tegenstelling tot",
        "d.m.v.": "door middel van", "a.s.": "aanstaande", "jl.": "jongstleden",
        "dhr.": "de heer", "mevr.": "mevrouw", "mw.": "mevrouw", "mej.": "mejuffrouw",
        "dr.": "doctor", "drs.": "doctorandus", "prof.": "professor", "ir.": "ingenieur",
        "ing.": "ingenieur", "mr.": "meester", "ds.": "dominee", "st.": "sint", "nr.": "nummer",
        "nrs.": "nummers", "ca.": "circa", "max.": "maximaal", "min.": "minimaal",
        "incl.": "inclusief", "excl.": "exclusief", "resp.": "respectievelijk",
        "vgl.": "vergelijk", "zgn.": "zogenaamde", "z.g.": "zogenaamde", "evt.": "eventueel",
        "tel.": "telefoon", "v.Chr.": "voor Christus", "n.Chr.": "na Christus",
        "t/m": "tot en met", "mln.": "miljoen", "mld.": "miljard", "gem.": "gemiddeld",
        "geb.": "geboren", "overl.": "overleden", "str.": "straat",
        **{f"{short}.": name for short, name in zip(_SHORT_MONTHS, _MONTHS, strict=True)
           if short not in ("mei", "jun", "jul")},
    },
    before_number={
        "p.": "pagina", "pag.": "pagina", "blz.": "bladzijde", "hfst.": "hoofdstuk",
        "art.": "artikel", "fig.": "figuur", "afb.": "afbeelding", "tab.": "tabel",
        "no.": "nummer",
    },
    signs={
        "&": "en", "+": "plus", "=": "is", "@": "at", "%": "procent", "‰": "promille",
        "§": "paragraaf", "§§": "paragrafen", "©": "copyright", "®": "geregistreerd",
        "™": "handelsmerk", "°": "graden", "±": "plus minus", "×": "maal", "÷": "gedeeld door",
        "≈": "ongeveer", "≠": "is niet gelijk aan", "≤": "kleiner dan of gelijk aan",
        "≥": "groter dan of gelijk aan", "<": "kleiner dan", ">": "groter dan", "€": "euro",
        "$": "dollar", "£": "pond", "¥": "yen", "¢": "cent", "−": "min", "²": "kwadraat",
        "³": "tot de derde", "№": "nummer", "∞": "oneindig", "→": "naar", "#": "nummer",
    },
    date=_date,
    year=_year,
    decade=lambda words: f"{words}er",
    fraction=_fraction,
    comma="komma",
    minus="min",
    plus="plus",
    to="tot",
    by="bij",
    times="keer",
    percent="procent",
    per_mille="promille",
    clock="uur",
    seconds=("seconde", "seconden"),
    dot="punt",
    at="at",
    slash="slash",
)  # fmt: skip
