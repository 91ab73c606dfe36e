"""The rules of English, in order, and the scanner that applies them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from glottis.text.english import names, quantities
from glottis.text.english import words as table
from glottis.text.english.scene import Scene, Spoken
from glottis.text.scanning import Rule, Scanner, either, pause, saying
from glottis.text.tokens import Token


def read(
    text: str, language: str = "en-us", start: int = 0, end: int | None = None
) -> Iterator[Token | str]:
    """What is said for ``text[start:end]`` (cleaned): tokens, and characters that nobody can say.

    What stands around that stretch is context. Linear in the length of the text.
    """
    scene = Scene(text, language, language.startswith("en-gb"), _shouting(text))
    return _scanner().read(scene, start, len(text) if end is None else end)


@cache
def _scanner() -> Scanner:
    return Scanner(_RULES)


def _shouting(text: str) -> bool:
    sample = text[:2000]
    capitals = len(re.findall("[A-Z]", sample))
    return capitals > 8 and capitals > 2 * len(re.findall("[a-z]", sample)) and " " in sample


def _as_written(m: re.Match[str], scene: Scene) -> Spoken:
    return m[0]


_LETTER = r"A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿ\u0300-\u036f"
_DECIMAL = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
# A sign belongs to a number only where nothing can be subtracted from.
_N = rf"(?P<n>(?:(?<![\w.)%°\]])[-−+±])?(?:{_DECIMAL}))"
_TO = rf"(?:\s?[-–]\s?(?P<to>{_DECIMAL}))?"
_SCALE = r"(?:\s?(?P<scale>thousand|million|billion|trillion|mn|bn|tn|[kKmMbBtT])(?![^\W_]))?"
_MONTH = (
    r"(?P<month>January|February|March|April|May|June|July|August|September|October|November"
    r"|December|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?)"
)
_MERIDIEM = r"(?P<half>[AaPp]\.[Mm]\.|[AaPp]\.?[Mm](?![^\W_]))"
_UNIT = either(table.UNITS)
_SIGNS = either(sign for sign in table.CURRENCIES if not sign.isalpha())
_CODES = either(sign for sign in table.CURRENCIES if sign.isalpha())
_START = r"(?<![\w.])"
_VULGAR = "[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒]"

# Where a rule can start (a letter, a digit 0, + anything else), its pattern, its reader. Order
# matters: the first that accepts wins.
_RULES: list[Rule] = [
    # A sign between two numbers, the letter x among them, so before any word.
    ("a+", r"(?<=[0-9] )[-−–x×*/÷:](?= [0-9])|(?<=[0-9])[x×*/÷:](?=[0-9])", quantities.operator),
    # Most words: lower case with nothing special behind. Early because it is fast.
    ("a", r"[a-z]+(?:'[a-z]+)?(?=[ ,;\n]|$)", names.plain),
    # Addresses
    ("a", r"(?:https?://|ftp://|www\.)[^\s<>\"]*[^\s<>\".,;:!?)\]'*]", names.address),
    ("a0", r"(?<![\w.])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,9}(?<![.-])", names.address),
    (
        "a0",
        r"(?<![\w.@])(?:[A-Za-z0-9-]{1,63}\.){1,9}[a-z]{2,4}[34]?(?![\w-])(?!\.[a-z])"
        r"(?:/[^\s<>\"]*[^\s<>\".,;:!?)\]'])?",
        names.domain,
    ),
    ("+", r"(?<!\w)[@#](?=\w*[A-Za-z])\w+", names.handle),
    # Dates and times
    (
        "0+",
        r"(?<![\w.])'?(?P<century>[0-9]{2})?(?P<tens>[0-9]0)'?s(?![^\W_])",
        quantities.decade,
    ),
    (
        "0",
        rf"{_START}(?P<a>[0-9]{{1,2}})/(?P<b>[0-9]{{1,2}})/(?P<y>[0-9]{{4}}|[0-9]{{2}})(?![\w/])",
        quantities.slash_date,
    ),
    (
        "0",
        rf"{_START}(?P<d>[0-9]{{1,2}})\.(?P<m>[0-9]{{1,2}})\.(?P<y>[12][0-9]{{3}})(?![\w/])",
        quantities.plain_date,
    ),
    (
        "0",
        rf"{_START}(?P<y>[12][0-9]{{3}})[-/](?P<m>[0-9]{{2}})[-/](?P<d>[0-9]{{2}})(?![0-9])",
        quantities.plain_date,
    ),
    (
        "a",
        rf"\b{_MONTH}\s(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?(?![\w:%]|[.,/][0-9])",
        quantities.month_day,
    ),
    (
        "0",
        rf"{_START}(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH}(?![^\W_])",
        quantities.day_month,
    ),
    (
        "0",
        r"(?<![\w:.])(?P<clock>[0-9]{1,2}:[0-5][0-9](?::[0-5][0-9])?)(?![0-9:])"
        rf"(?:\s?{_MERIDIEM})?",
        quantities.time,
    ),
    ("0", rf"{_START}(?P<clock>[0-9]{{1,2}})\s?{_MERIDIEM}", quantities.hour),
    # Telephone and other codes
    ("+", r"(?<![\w.])\+[0-9][0-9 ()./-]{6,18}[0-9](?![0-9])", quantities.telephone),
    (
        "0+",
        r"(?<![\w.-])(?:\([0-9]{3}\)\s?|(?:1[-. ])?[0-9]{3}[-. ])[0-9]{3}[-. ][0-9]{4}(?![\w-])",
        quantities.telephone,
    ),
    ("0", r"(?<![\w.-])[0-9]{3}-[0-9]{4}(?![\w-])", quantities.telephone),
    ("0", r"(?<![\w.-])[0-9]+(?:-[0-9]+){2,}(?![\w-])", quantities.dashed),
    ("a", rf"{_START}[vV]\.?\s?(?P<parts>[0-9]+(?:\.[0-9]+)+)(?![0-9])", quantities.version),
    ("0", rf"{_START}(?P<parts>[0-9]+(?:\.[0-9]+){{2,}})(?![0-9])", quantities.dotted_number),
    # Money
    (
        "a+",
        rf"(?P<minus>(?<![\w.)])[-−])?(?P<sign>{_SIGNS})\s?(?P<n>{_DECIMAL})"
        rf"(?:\s?[-–]\s?(?:{_SIGNS})?(?P<to>{_DECIMAL}))?{_SCALE}(?![0-9])",
        quantities.money,
    ),
    ("0+", rf"{_N}{_SCALE}\s?(?P<code>{_CODES}|[€£])(?![^\W_])", quantities.money_behind),
    ("0+", rf"{_N}\s?¢", quantities.cents),
    # Measures
    ("0+", rf"{_N}{_TO}\s?(?P<sign>%|‰|percent\b|per cent\b)", quantities.percent),
    (
        "0",
        r"(?<![\w.])(?P<ft>[0-9]{1,3})'(?:\s?(?P<in>[0-9]{1,2})(?:\"|''))?(?![\w'])",
        quantities.feet_inches,
    ),
    (
        "0",
        r"(?<![\w.])(?P<ft>[0-9]{1,3}) ?ft\.? (?P<in>[0-9]{1,2}) ?in(?:\b\.?)",
        quantities.feet_inches,
    ),
    (
        "0+",
        rf"{_N}{_TO}(?P<gap>[ -]?)(?P<unit>{_UNIT})"
        r"(?:/(?P<per>h|hr|s|sec|min|m²|m³|kg|l|L|mi))?(?![^\W_]|[²³])",
        quantities.measure,
    ),
    # Numbers
    (
        "0",
        rf"{_START}(?P<n>[0-9]{{1,3}}(?:,[0-9]{{3}})+|[0-9]+)(?:st|nd|rd|th|ST|ND|RD|TH)(?![^\W_])",
        quantities.ordinal_number,
    ),
    (
        "0+",
        rf"(?<![\w./])(?:(?P<whole>[0-9]+\s?)(?={_VULGAR}))?(?P<vulgar>{_VULGAR})",
        quantities.vulgar_fraction,
    ),
    (
        "0",
        r"(?<![\w./])(?P<whole>[0-9]+[ -])?(?P<top>[0-9]{1,4})/(?P<bottom>[0-9]{1,4})"
        r"(?:th|rd)?(?![\w/]|\.[0-9])",
        quantities.fraction,
    ),
    (
        "0+",
        rf"(?<![\w.,])(?P<n>{_DECIMAL})(?P<dash>\s?[-–]\s?)(?P<to>{_DECIMAL})(?![\w-]|[.,][0-9])",
        quantities.number_range,
    ),
    (
        "0+",
        rf"{_N}(?:\^(?P<e>-?[0-9]{{1,4}})|(?P<up>[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{{1,4}}))",
        quantities.power,
    ),
    ("0+", rf"{_N}[eE](?P<e>[-+−]?[0-9]{{1,3}})(?![\w.])", quantities.scientific),
    ("0+", rf"(?<![{_LETTER}]){_N}(?![^\W_])", quantities.number),
    ("0", r"[0-9]+", quantities.number),
    # Names
    (
        "a",
        r"(?<![A-Za-z.])(?:Ph|[A-Za-z])\.(?:[A-Za-z]\.)+(?:[A-Za-z](?![\w.]))?"
        r"|\b(?:Ph|[A-Z])\.[A-Z](?![\w.])",
        names.dotted,
    ),
    (
        "a",
        r"(?<![\w'.-])(?P<roman>[IVXLCDM]{1,15})(?P<th>th|st|nd|rd)?(?![\w'-]|\.[A-Za-z])",
        names.roman,
    ),
    ("a", r"(?<![\w.'-])[A-Z]\.(?=\s|[A-Z][a-z])", names.initial),
    ("a", r"\b(?:w/out|w/o|c/o|w/)(?=\s)", names.sign),
    (
        "a",
        r"(?<![A-Za-z'-])(?P<abbr>[A-Za-z]{1,8})(?:(?P<dot>\.(?![a-z]))|(?!['\w-]))",
        names.abbreviation,
    ),
    (
        "a0",
        rf"(?<!\w)(?=[{_LETTER}]*[0-9])[{_LETTER}0-9]+(?:\.[0-9]+)?(?![^\W_])",
        names.mixed,
    ),
    (
        "a",
        rf"[{_LETTER}]{{2,}}-[0-9]+[A-Za-z]?(?![\w-])|(?<!\w)[A-Z]-[0-9]+(?![\w-])",
        names.mixed,
    ),
    ("a", r"[A-Za-z]\+\+(?!\w)|\b[CF]#(?!\w)", names.plus_plus),
    ("+", r"(?<![\w'])'(?:tis|twas|em|til|cause|n)\b'?", _as_written),
    ("a", r"\b[A-Z]+(?:&[A-Z]+)+\b", names.ampersand),
    ("a", rf"[{_LETTER}]+\(e?s\)", names.optional_plural),
    ("a", rf"[{_LETTER}]+(?:['-][{_LETTER}]+)*", names.word),
    # Signs
    ("+", r"\n[^\S\n]*\n\s*|[\f\u2028\u2029]+", saying(".")),
    ("+", r"[.?!]+(?:[ ]?[.?!])*|[,;:]+", pause),
    (
        "+",
        r"(?<=[0-9%°mM])[-–](?=[0-9$£€])|(?<=[0-9%°mM] )[-–](?= [0-9$£€])"
        r"|(?<=[0-9])[-–](?=(?:present|now|today)\b)|(?<=[a-z])–(?=[A-Z])",
        saying("to"),
    ),
    ("+", r"--+|—+|(?<=\s)[-–]+(?=\s)|–", saying(";")),
    ("+", r"(?<!\w)[(\[{]|[)\]}](?!\w)|[|\n•▪●·]+(?=\s)", saying(",")),
    ("+", r"#", names.hash_sign),
    ("+", r"(?<=\w)/(?P<unit>[a-z]+)\b", names.per),
    ("+", r"(?<=\w)/(?=\w)", names.slash),
    ("+", r"(?<=\w )\*(?= \w)", saying("times")),
    ("+", rf"(?:{either(table.SIGNS)})", names.sign),
    ("a", r"[Α-Ωα-ωςϕϑ](?![Α-Ωα-ω])", names.greek),
    ("+", r"[\"'()\[\]{}*_~`|\\/•▪●·\-–¿¡†‡←↑↓⇒\ufffd\u0300-\u036f\s⁰¹⁴-⁹⁺⁻]", saying("")),
]
