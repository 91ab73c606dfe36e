"""Text to sentences of bounded length, in linear time.

A full stop ends a sentence unless it belongs to an abbreviation, an initial or a number. The words
around it decide, never more than :data:`_REACH` characters of them, so that cost is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_SENTENCE = 400
"""Longest sentence in characters; a longer one is cut at a comma, else a space, else anywhere."""

_REACH = 40

# A run of terminators with whatever closes after it. CJK stops need no space behind them.
_STOP = re.compile(r"(?P<stop>[.!?…]+)[\"'”’»)\]}*_]*(?=\s|$)|[。！？｡]+[」』”’）]*")
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*|\n\s*(?=(?:[-*•–]|\d{1,3}[.)])\s)|[\f\u2028\u2029]+")
_WORD_BEFORE = re.compile(r"(?:[^\W_]|[.'’&-])*$")
_WORD_AFTER = re.compile(r"[\s\"'“‘«(\[{*_]*((?:[^\W_]|['’])*)")

# Always followed by the rest of their sentence.
_NEVER = {
    "en": """mr mrs ms messrs dr drs prof rev revd hon gen col lt maj capt cpt cmdr adm sgt gov sen
        rep pres fr mme mlle st ste mt ft vs v e.g i.e cf viz approx ca esp nr dept lieut bros""",
    "de": """hr hrn fr dr prof st z.b z d.h d u.a u.ä i.d.r bzw ca vgl evtl ggf inkl exkl max min nr
        bd s abs art dipl ing str sog geb gest jr sen tel usf u.u m.e i.a a.d s.o s.u v.a z.t z.z
        o.g v.chr n.chr abb kap tab mio mrd tsd bspw insb gem lt jh jhd""",
    "nl": """dhr mevr mej mr dr drs ir ing prof ds st nr blz bv bijv d.w.z d.i m.a.w o.a o.m t.a.v
        n.a.v m.b.t i.v.m i.p.v z.g zgn ca resp incl excl max min vgl art tel bv m.u.v t.o.v i.h.b
        i.t.t d.m.v a.s mw evt pag hfst afb v.chr n.chr mln mld""",
    "fr": "m mm mme mmes mlle dr pr st ste p.ex cf c.-à-d env no vol art tél",
    "es": "sr sra srta dr dra prof d dña ud uds p.ej aprox núm pág vol art tel",
}
# Followed by the rest only before a number ("No. 5") or a roman one.
_BEFORE_NUMBER = set(
    """no nos nr p pp vol vols ch chap fig figs sec sect art par ex eq ver op tel ext apt hwy rm
    jan feb mar apr jun jul aug sep sept oct nov dec""".split()
)
# Languages that write "3." for the third.
_DOTTED_ORDINALS = frozenset("de da nb no fi cs sk pl hu hr sl et lv lt is tr lb".split())
# Languages that write abbreviations of several words with spaces, "z. B.".
_SPACED = frozenset("de nl da nb no cs sk pl hu".split())
# May end a sentence; they do when what follows starts one.
_OFTEN = set(
    """etc inc ltd co corp jr sr esq ave blvd rd st mon tue tues wed thu thurs fri a.m p.m a.d b.c
    u.s u.k u.n e.u u.s.a d.c ph.d m.d b.a m.a al usw enz bros est min max hr hrs ed eds univ assn
    """.split()
)
_STARTERS = set(
    """a an the this that these those there here he she it we you they i his her its our your their
    my who what when where why how which while if as at in on for from by with without after before
    but and or so yet nor not no yes then now once since until although though because however
    perhaps maybe some many most each every both all another other one two three is are was were do
    does did has have had can could will would should may might must let today tomorrow yesterday
    der die das ein eine er sie es wir ihr ich und aber doch dann nun so wenn als nach vor in im
    de het een hij zij ze het wij jullie ik en maar toen dan nu als na voor er dit dat deze die
    """.split()
)


def split(text: str, language: str = "en-us", maximum: int = MAX_SENTENCE) -> list[str]:
    """Sentences of ``text``, in order, stripped, none empty or longer than ``maximum`` characters.

    Together they hold every character of the text but white space.
    """
    pieces = []
    for paragraph in _PARAGRAPH.split(text):
        start = 0
        for stop in _STOP.finditer(paragraph):
            if stop.end() < len(paragraph) and not ends_sentence(paragraph, stop, language, start):
                continue
            pieces.append(paragraph[start : stop.end()])
            start = stop.end()
        pieces.append(paragraph[start:])
    return [part for piece in pieces for part in _bounded(piece.strip(), maximum)]


def ends_sentence(text: str, stop: re.Match[str], language: str, start: int = 0) -> bool:
    """Whether the terminators matched by ``stop`` end the sentence that began at ``start``."""
    marks = stop.group("stop")
    if marks is None:
        return True
    return stop_ends_sentence(text, stop.start(), stop.end(), marks, language, start)


def stop_ends_sentence(
    text: str, place: int, after: int, marks: str, language: str, start: int = 0
) -> bool:
    """As :func:`ends_sentence` for the marks at ``place``, whose closing signs end at ``after``."""
    following = _WORD_AFTER.match(text, after, after + _REACH)
    word = following[1] if following else ""
    if word[:1].islower():
        return False
    if marks != ".":
        return True
    left = _WORD_BEFORE.search(text[max(start, place - _REACH) : place])
    before = left[0].lstrip(".'’-&") if left else ""
    key = before.casefold()
    begins = word.casefold() in _STARTERS
    if not text[start:place].strip(" \t\n\"'“‘(").strip("0123456789"):
        return False  # "1. First", the number of a list
    if 1 <= len(key) <= 2 and key.isdecimal() and language.split("-")[0] in _DOTTED_ORDINALS:
        return begins
    if len(key) == 1 and key.isalpha() and language.split("-")[0] in _SPACED:
        # "z. B." and "d. h.": a letter before another, or behind one.
        if re.match(r"\s[^\W\d_]\.", text[after : after + 4]):
            return False
        if key == before and re.search(r"[^\W\d_]\.\s?$", text[max(start, place - 4) : place - 1]):
            return False
    if key in never(language):
        # "St." and the like can still close: "He lives on Elm St. The house is red."
        return begins and key in _OFTEN and len(word) > 1
    if key in _BEFORE_NUMBER and (word[:1].isdigit() or _is_roman(word)):
        return False
    if len(before) == 1 and before.isalpha() and before.isupper():
        return begins and before != "I" and not re.match(r"\s*[A-Z]\.", text[after : after + 8])
    if key in _OFTEN or ("." in before and before.replace(".", "").isalpha()):
        return begins and (word != "I" or text[after : after + 3] != " I.")
    return True


def starts_sentence(text: str, place: int) -> bool:
    """Whether the word at ``place`` is one that sentences begin with (The, He, But, ...)."""
    following = _WORD_AFTER.match(text, place, place + _REACH)
    return following is not None and following[1].casefold() in _STARTERS


def never(language: str) -> frozenset[str]:
    """Abbreviations of a language, casefolded and without their last stop, that end no sentence."""
    base = language.split("-")[0]
    return _never_sets.get(base, _never_sets["en"])


_never_sets = {language: frozenset(words.split()) for language, words in _NEVER.items()}


def _is_roman(word: str) -> bool:
    return bool(word) and not word.strip("IVXLC")


def _bounded(sentence: str, maximum: int) -> Iterator[str]:
    """Cut a sentence into parts of at most ``maximum`` characters, where it hurts least."""
    position = 0
    while len(sentence) - position > maximum:
        window = sentence[position : position + maximum]
        cut = -1
        for breaks in (r"[;:—!?.][\"'”’)\]]*\s", r",[\"'”’)\]]*\s", r"\s"):
            # Not in the first third: a short part and then a long one read worse than two halves.
            places = [
                found.end() for found in re.finditer(breaks, window) if found.end() > maximum // 3
            ]
            if places:
                cut = places[-1]
                break
        if cut < 0:
            cut = maximum
        part = window[:cut].strip()
        if part:
            yield part
        position += cut
    rest = sentence[position:].strip()
    if rest:
        yield rest
