"""The rules of English, in order, and the scanner that applies them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

from glottis.text.english import names, quantities
from glottis.text.english import words as table
from glottis.text.english.scene import Reader, Scene, Spoken
from glottis.text.tokens import Token


def read(
    text: str, language: str = "en-us", start: int = 0, end: int | None = None
) -> Iterator[Token | str]:
    """What is said for ``text[start:end]`` (cleaned): tokens, and characters that nobody can say.

    What stands around that stretch is context. Linear in the length of the text.
    """
    scene = Scene(text, british=language.startswith("en-gb"), shouting=_shouting(text))
    master, rules = _compiled()
    position, end = start, len(text) if end is None else end
    while found := master.search(text, position, end):
        first = int((found.lastgroup or "r0")[1:])
        m: re.Match[str] | None = found
        spoken: Spoken = None
        for rule, (pattern, reader) in enumerate(rules[first:], first):
            m = pattern.match(text, found.start(), end)
            if m and m.end() > m.start():
                spoken = reader(m, scene)
                if spoken is not None:
                    break
            if rule == len(rules) - 1:
                m = None
        if m is None or spoken is None:
            # No rule: a letter of another script, an emoji, a sign without a name.
            yield text[found.start()]
            position = found.start() + 1
            continue
        if isinstance(spoken, list):
            yield from spoken
        elif spoken:
            yield Token(m[0], spoken)
        position = m.end()


def _shouting(text: str) -> bool:
    sample = text[:2000]
    capitals = len(re.findall("[A-Z]", sample))
    return capitals > 8 and capitals > 2 * len(re.findall("[a-z]", sample)) and " " in sample


def _as_written(m: re.Match[str], scene: Scene) -> Spoken:
    return m[0]


def _to(m: re.Match[str], scene: Scene) -> Spoken:
    return "to"


def _silent(m: re.Match[str], scene: Scene) -> Spoken:
    return []


def _comma(m: re.Match[str], scene: Scene) -> Spoken:
    return [Token(m[0], ",")]


def _semicolon(m: re.Match[str], scene: Scene) -> Spoken:
    return [Token(m[0], ";")]


def _stop(m: re.Match[str], scene: Scene) -> Spoken:
    return [Token(m[0], ".")]


def _either(words: Iterable[str]) -> str:
    """An alternation of literal strings, the longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=lambda w: (-len(w), w)))


_LETTER = r"A-Za-zªºÀ-ÖØ-öø-ɏḀ-ỿ\u0300-\u036f"
_DECIMAL = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
# A sign belongs to a number only where nothing can be subtracted from.
_N = rf"(?P<n>(?:(?<![\w.)%°\]])[-−+±])?(?:{_DECIMAL}))"
_TO = rf"(?:\s?[-–]\s?(?P<to>{_DECIMAL}))?"
# Nothing that would make the match a part of something longer.
_ENDS = r"(?![^\W_]|[²³])"
_SCALE = r"(?:\s?(?P<scale>thousand|million|billion|trillion|mn|bn|tn|[kKmMbBtT])(?![^\W_]))?"
_MONTH = (
    r"(?P<month>January|February|March|April|May|June|July|August|September|October|November"
    r"|December|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?)"
)
_MERIDIEM = r"(?P<half>[AaPp]\.[Mm]\.|[AaPp]\.?[Mm](?![^\W_]))"
_UNIT = _either(table.UNITS)
_SIGNS = _either(sign for sign in table.CURRENCIES if not sign.isalpha())
_CODES = _either(sign for sign in table.CURRENCIES if sign.isalpha())
_ABBREVIATIONS = _either(
    {
        "st",
        "dr",
        *table.ABBREVIATIONS,
        *table.BEFORE_NUMBER,
        *table.BEFORE_NAME,
        *table.AFTER_NAME,
    }
)
_START = r"(?<![\w.])"

_RULES: list[tuple[str, Reader]] = [
    (r"(?<=[0-9] )(?:[-−–x×*/÷:])(?= [0-9])|(?<=[0-9])[x×*/÷:](?=[0-9])", quantities.operator),
    # Most words: lower case, and no abbreviation that might stand here. First because it is fast.
    (rf"(?!(?:{_ABBREVIATIONS}|ok|wifi)\b)[a-z]+(?:'[a-z]+)?(?=[ ,;\n]|$)", _as_written),
    # Addresses
    (r"(?:https?://|ftp://|www\.)[^\s<>\"]*[^\s<>\".,;:!?)\]'*]", names.address),
    (r"(?<![\w.])[\w.+-]+@[\w-]+(?:\.[\w-]+)+(?<![.-])", names.address),
    (
        rf"(?<![\w.@])(?:[A-Za-z0-9-]+\.)+(?:{_either(table.DOMAINS)})(?![\w-])(?!\.[a-z])"
        r"(?:/[^\s<>\"]*[^\s<>\".,;:!?)\]'])?",
        names.domain,
    ),
    (r"(?<!\w)[@#](?=\w*[A-Za-z])\w+", names.handle),
    # Dates and times
    (r"(?<![\w.])'?(?P<century>[0-9]{2})?(?P<tens>[0-9]0)'?s(?![^\W_])", quantities.decade),
    (rf"{_START}(?P<a>[0-9]{{1,2}})/(?P<b>[0-9]{{1,2}})/(?P<y>[0-9]{{4}}|[0-9]{{2}})(?![\w/])",
     quantities.slash_date),
    (rf"{_START}(?P<d>[0-9]{{1,2}})\.(?P<m>[0-9]{{1,2}})\.(?P<y>[12][0-9]{{3}})(?![\w/])",
     quantities.plain_date),
    (rf"{_START}(?P<y>[12][0-9]{{3}})[-/](?P<m>[0-9]{{2}})[-/](?P<d>[0-9]{{2}})(?![0-9])",
     quantities.plain_date),
    (rf"\b{_MONTH}\s(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?(?![\w:%]|[.,/][0-9])", quantities.month_day),
    (rf"{_START}(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?\s(?:of\s)?{_MONTH}(?![^\W_])",
     quantities.day_month),
    (rf"(?<![\w:.])(?P<clock>[0-9]{{1,2}}:[0-5][0-9](?::[0-5][0-9])?)(?![0-9:])(?:\s?{_MERIDIEM})?",
     quantities.time),
    (rf"{_START}(?P<clock>[0-9]{{1,2}})\s?{_MERIDIEM}", quantities.hour),
    # Codes
    (r"(?<![\w.])\+[0-9](?:[0-9 ()./-]{6,18})[0-9](?![0-9])", quantities.telephone),
    (r"(?<![\w.-])(?:\([0-9]{3}\)\s?|(?:1[-. ])?[0-9]{3}[-. ])[0-9]{3}[-. ][0-9]{4}(?![\w-])",
     quantities.telephone),
    (r"(?<![\w.-])[0-9]{3}-[0-9]{4}(?![\w-])", quantities.telephone),
    (r"(?<![\w.-])[0-9]+(?:-[0-9]+){2,}(?![\w-])", quantities.dashed),
    (rf"{_START}(?:[vV]\.?\s?)(?P<parts>[0-9]+(?:\.[0-9]+)+)(?![0-9])", quantities.version),
    (rf"{_START}(?P<parts>[0-9]+(?:\.[0-9]+){{2,}})(?![0-9])", quantities.dotted_number),
    # Money
    (
        rf"(?P<minus>(?<![\w.)])[-−])?(?P<sign>{_SIGNS})\s?(?P<n>{_DECIMAL})"
        rf"(?:\s?[-–]\s?(?:{_SIGNS})?(?P<to>{_DECIMAL}))?{_SCALE}(?![0-9])",
        quantities.money,
    ),
    (rf"{_N}{_SCALE}\s?(?P<code>{_CODES}|[€£])(?![^\W_])", quantities.money_behind),
    (rf"{_N}\s?¢", quantities.cents),
    # Measures
    (rf"{_N}{_TO}\s?(?P<sign>%|‰|percent\b|per cent\b)", quantities.percent),
    (r"(?<![\w.])(?P<ft>[0-9]+)'(?:\s?(?P<in>[0-9]{1,2})(?:\"|''))?(?![\w'])", quantities.feet_inches),
    (
        rf"{_N}{_TO}(?P<gap>[ -]?)(?P<unit>{_UNIT})(?:/(?P<per>h|hr|s|sec|min|m²|m³|kg|l|L|mi))?{_ENDS}",
        quantities.measure,
    ),
    # Numbers
    (rf"{_START}(?P<n>[0-9]{{1,3}}(?:,[0-9]{{3}})+|[0-9]+)(?:st|nd|rd|th|ST|ND|RD|TH)(?![^\W_])",
     quantities.ordinal_number),
    (
        r"(?<![\w./])(?:(?P<whole>[0-9]+\s?)(?=[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒]))?(?P<vulgar>[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒])"
        r"(?P<top>)(?P<bottom>)",
        quantities.fraction,
    ),
    (
        r"(?<![\w./])(?P<whole>[0-9]+[ -])?(?P<top>[0-9]{1,4})/(?P<bottom>[0-9]{1,4})(?![\w/]|\.[0-9])"
        r"(?P<vulgar>)",
        quantities.fraction,
    ),
    (rf"(?<![\w.,])(?P<n>{_DECIMAL})(?P<dash>\s?[-–]\s?)(?P<to>{_DECIMAL})(?![\w-]|[.,][0-9])",
     quantities.number_range),
    (rf"{_N}(?:\^(?P<e>-?[0-9]{{1,4}})|(?P<up>[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{{1,4}}))", quantities.power),
    (rf"{_N}[eE](?P<e>[-+−]?[0-9]{{1,3}})(?![\w.])", quantities.scientific),
    (rf"(?<![{_LETTER}]){_N}(?![^\W_])", quantities.number),
    # Names
    (r"(?<![\w.])(?:Ph|[A-Za-z])\.(?:[A-Za-z]\.)+(?:[A-Za-z](?![\w.]))?|\b(?:Ph|[A-Z])\.[A-Z](?![\w.])",
     names.dotted),
    (r"(?<![\w.'-])[A-Z]\.(?=\s+[A-Z]|[A-Z][a-z])", names.initial),
    (r"\b(?:w/out|w/o|c/o|w/)(?=\s)", names.sign),
    (rf"(?<![\w'-])(?P<abbr>(?i:{_ABBREVIATIONS}))(?P<dot>\.(?![a-z]))?(?!['\w-])", names.abbreviation),
    (r"(?<![\w'.-])(?P<roman>[IVXLCDM]+)(?P<th>th|st|nd|rd)?(?![\w'’-]|\.[A-Za-z])", names.roman),
    (rf"(?<!\w)(?=[{_LETTER}]*[0-9])[{_LETTER}0-9]+(?:\.[0-9]+)?(?![^\W_])", names.mixed),
    (rf"[{_LETTER}]{{2,}}-[0-9]+[A-Za-z]?(?![\w-])|(?<!\w)[A-Z]-[0-9]+(?![\w-])", names.mixed),
    (r"[A-Za-z]\+\+(?!\w)|\b[CF]#(?!\w)", names.plus_plus),
    (r"(?<![\w'])'(?:tis|twas|em|til|cause|n)\b'?", _as_written),
    (r"\b[A-Z]+(?:&[A-Z]+)+\b", names.ampersand),
    (rf"[{_LETTER}]+(?:['-][{_LETTER}]+)*", names.word),
    # Signs
    (r"\n[^\S\n]*\n\s*|[\f\u2028\u2029]+", _stop),
    (r"[.?!]+(?:[ ]?[.?!])*|[,;:]+", names.pause),
    (r"(?<=[0-9%°mM])[-–](?=[0-9$£€])|(?<=[0-9%°mM] )[-–](?= [0-9$£€])|(?<=[0-9])[-–](?=present\b|now\b|today\b)|"
     r"(?<=[a-z])–(?=[A-Z])", _to),
    (r"--+|—+|(?<=\s)[-–]+(?=\s)|–", _semicolon),
    (r"(?<!\w)[(\[{]|[)\]}](?!\w)|[|\n•▪●·]+(?=\s)", _comma),
    (r"#", names.hash_sign),
    (r"(?<=\w)/(?=\w)", names.slash),
    (rf"(?:{_either(table.SIGNS)})", names.sign),
    (r"[Α-Ωα-ωςϕϑ](?![Α-Ωα-ω])", names.greek),
    (r"[\"'()\[\]{}*_~`|\\/•▪●·\-–¿¡†‡←↑↓⇒]|\ufffd", _silent),
]  # fmt: skip


@cache
def _compiled() -> tuple[re.Pattern[str], list[tuple[re.Pattern[str], Reader]]]:
    """One pattern that finds the first rule to ask, and each rule's own with its named groups."""
    rules = [(re.compile(pattern), reader) for pattern, reader in _RULES]
    bare = [re.sub(r"\(\?P<\w+>", "(?:", pattern) for pattern, _ in _RULES]
    master = "|".join(f"(?P<r{number}>{pattern})" for number, pattern in enumerate([*bare, r"\S"]))
    return re.compile(master), rules
