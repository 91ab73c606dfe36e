"""Tables of English: what is written on the left, what is said on the right."""

from __future__ import annotations

import re

MONTHS = (
    "January February March April May June July August September October November December"
).split()

SCALES = {
    "k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion",
    "t": "trillion", "tn": "trillion",
}  # fmt: skip

# sign or code -> one, many, one hundredth, hundredths
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "US$": ("U S dollar", "U S dollars", "cent", "cents"),
    "A$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "C$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₽": ("ruble", "rubles", "kopek", "kopeks"),
    "₩": ("won", "won", "", ""),
    "₿": ("bitcoin", "bitcoins", "", ""),
    "USD": ("U S dollar", "U S dollars", "cent", "cents"),
    "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("pound", "pounds", "penny", "pence"),
    "JPY": ("yen", "yen", "", ""),
    "CHF": ("Swiss franc", "Swiss francs", "", ""),
    "CAD": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "AUD": ("Australian dollar", "Australian dollars", "cent", "cents"),
}

_METRIC = {"m": "meter", "g": "gram", "l": "liter", "L": "liter"}
_PREFIXES = {"k": "kilo", "c": "centi", "m": "milli", "µ": "micro", "μ": "micro", "n": "nano"}
UNITS: dict[str, tuple[str, str]] = {
    prefix + symbol: (name + unit, name + unit + "s")
    for symbol, unit in _METRIC.items()
    for prefix, name in {"": "", **_PREFIXES}.items()
    if prefix + symbol not in ("kL", "nL", "kl", "nl", "nL", "cg")
}
UNITS |= {
    symbol + square: (f"{how} {one}", f"{how} {many}")
    for symbol, (one, many) in list(UNITS.items())
    for square, how in {"²": "square", "³": "cubic"}.items()
    if one.endswith("meter")
}
UNITS |= {
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "kmh": ("kilometer per hour", "kilometers per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "mph": ("mile per hour", "miles per hour"),
    "mpg": ("mile per gallon", "miles per gallon"),
    "rpm": ("revolution per minute", "revolutions per minute"),
    "fps": ("frame per second", "frames per second"),
    "bpm": ("beat per minute", "beats per minute"),
    "dpi": ("dot per inch", "dots per inch"),
    "ppm": ("part per million", "parts per million"),
    "ft": ("foot", "feet"),
    "ft.": ("foot", "feet"),
    "in.": ("inch", "inches"),
    "mi": ("mile", "miles"),
    "mi.": ("mile", "miles"),
    "yd": ("yard", "yards"),
    "yds": ("yard", "yards"),
    "yd.": ("yard", "yards"),
    "sq ft": ("square foot", "square feet"),
    "sq. ft.": ("square foot", "square feet"),
    "sq m": ("square meter", "square meters"),
    "ha": ("hectare", "hectares"),
    "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"),
    "lb.": ("pound", "pounds"),
    "lbs.": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "oz.": ("ounce", "ounces"),
    "gal": ("gallon", "gallons"),
    "gal.": ("gallon", "gallons"),
    "qt": ("quart", "quarts"),
    "pt": ("point", "points"),
    "tsp": ("teaspoon", "teaspoons"),
    "tbsp": ("tablespoon", "tablespoons"),
    "s": ("second", "seconds"),
    "sec": ("second", "seconds"),
    "sec.": ("second", "seconds"),
    "secs": ("second", "seconds"),
    "ms": ("millisecond", "milliseconds"),
    "µs": ("microsecond", "microseconds"),
    "μs": ("microsecond", "microseconds"),
    "ns": ("nanosecond", "nanoseconds"),
    "min": ("minute", "minutes"),
    "min.": ("minute", "minutes"),
    "mins": ("minute", "minutes"),
    "h": ("hour", "hours"),
    "hr": ("hour", "hours"),
    "hr.": ("hour", "hours"),
    "hrs": ("hour", "hours"),
    "hrs.": ("hour", "hours"),
    "yr": ("year", "years"),
    "yrs": ("year", "years"),
    "bit": ("bit", "bits"),
    "kB": ("kilobyte", "kilobytes"),
    "KB": ("kilobyte", "kilobytes"),
    "MB": ("megabyte", "megabytes"),
    "GB": ("gigabyte", "gigabytes"),
    "TB": ("terabyte", "terabytes"),
    "PB": ("petabyte", "petabytes"),
    "KiB": ("kibibyte", "kibibytes"),
    "MiB": ("mebibyte", "mebibytes"),
    "GiB": ("gibibyte", "gibibytes"),
    "kbps": ("kilobit per second", "kilobits per second"),
    "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
    "MP": ("megapixel", "megapixels"),
    "px": ("pixel", "pixels"),
    "Hz": ("hertz", "hertz"),
    "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"),
    "dB": ("decibel", "decibels"),
    "W": ("watt", "watts"),
    "kW": ("kilowatt", "kilowatts"),
    "MW": ("megawatt", "megawatts"),
    "GW": ("gigawatt", "gigawatts"),
    "Wh": ("watt-hour", "watt-hours"),
    "kWh": ("kilowatt-hour", "kilowatt-hours"),
    "MWh": ("megawatt-hour", "megawatt-hours"),
    "V": ("volt", "volts"),
    "kV": ("kilovolt", "kilovolts"),
    "mV": ("millivolt", "millivolts"),
    "mA": ("milliamp", "milliamps"),
    "mAh": ("milliamp-hour", "milliamp-hours"),
    "Ω": ("ohm", "ohms"),
    "kΩ": ("kilohm", "kilohms"),
    "bn": ("billion", "billion"),
    "mn": ("million", "million"),
    "tn": ("trillion", "trillion"),
    "hp": ("horsepower", "horsepower"),
    "psi": ("pound per square inch", "pounds per square inch"),
    "Pa": ("pascal", "pascals"),
    "kPa": ("kilopascal", "kilopascals"),
    "hPa": ("hectopascal", "hectopascals"),
    "J": ("joule", "joules"),
    "kJ": ("kilojoule", "kilojoules"),
    "cal": ("calorie", "calories"),
    "kcal": ("kilocalorie", "kilocalories"),
    "N": ("newton", "newtons"),
    "K": ("kelvin", "kelvin"),
    "mol": ("mole", "moles"),
    "°C": ("degree Celsius", "degrees Celsius"),
    "ºC": ("degree Celsius", "degrees Celsius"),
    "℃": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "ºF": ("degree Fahrenheit", "degrees Fahrenheit"),
    "℉": ("degree Fahrenheit", "degrees Fahrenheit"),
    "°": ("degree", "degrees"),
}


# Behind a slash that follows an amount.
PER = {
    **{
        unit: unit
        for unit in str.split(
            "second minute hour day week fortnight month quarter year night person head user unit "
            "piece item share page word mile kilometer meter liter gallon pound ounce acre hectare"
        )
    },
    "s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "wk": "week",
    "mo": "month", "yr": "year", "lb": "pound", "oz": "ounce", "kg": "kilogram", "km": "kilometer",
    "gal": "gallon", "m": "meter", "l": "liter", "mi": "mile",
}  # fmt: skip

# Said for the abbreviation wherever it has its full stop.
ABBREVIATIONS = {
    "mr": "Mister", "mrs": "Missus", "ms": "Miz", "messrs": "Messieurs", "drs": "Doctors",
    "mme": "Madame", "mlle": "Mademoiselle", "etc": "et cetera", "vs": "versus", "i.e": "that is",
    "e.g": "for example", "a.k.a": "also known as", "cf": "compare", "viz": "namely",
    "approx": "approximately", "dept": "department", "univ": "University", "assn": "Association",
    "bldg": "building", "blvd": "Boulevard", "ave": "Avenue", "misc": "miscellaneous",
    "est": "established", "max": "maximum", "min": "minimum", "ext": "extension",
    "tel": "telephone", "incl": "including", "excl": "excluding", "esp": "especially",
    "intl": "international", "natl": "national", "govt": "government", "mgmt": "management",
    "bros": "Brothers", "tues": "Tuesday", "thurs": "Thursday", "jan": "January",
    "feb": "February", "apr": "April", "aug": "August", "sept": "September", "sep": "September",
    "oct": "October", "nov": "November", "dec": "December", "nos": "numbers", "gen'l": "General",
    "ca": "circa", "hwy": "Highway", "pkwy": "Parkway", "apt": "apartment", "figs": "figures",
    "vols": "volumes", "eds": "editors",
}  # fmt: skip
# These need no full stop (British usage, or they are no other word).
BARE = set(
    str.split(
        "mr mrs messrs mme mlle etc vs approx dept blvd prof rev lt col sgt capt mt ft jr sr inc "
        "ltd corp esq"
    )
)
# These need none before a number.
BARE_BEFORE_NUMBER = {"pp", "vol", "vols"}
# Titles and the like, before a name that begins with a capital.
BEFORE_NAME = {
    "prof": "Professor", "rev": "Reverend", "revd": "Reverend", "gen": "General",
    "col": "Colonel", "maj": "Major", "capt": "Captain", "cpt": "Captain", "lt": "Lieutenant",
    "lieut": "Lieutenant", "sgt": "Sergeant", "cpl": "Corporal", "pvt": "Private",
    "cmdr": "Commander", "adm": "Admiral", "gov": "Governor", "sen": "Senator",
    "rep": "Representative", "pres": "President", "hon": "Honorable", "fr": "Father",
    "supt": "Superintendent", "insp": "Inspector", "mt": "Mount", "ft": "Fort", "ste": "Sainte",
    "mon": "Monday", "tue": "Tuesday", "wed": "Wednesday", "thu": "Thursday", "fri": "Friday",
    "atty": "Attorney",
}  # fmt: skip
# After a name.
AFTER_NAME = {
    "jr": "Junior", "sr": "Senior", "esq": "Esquire", "inc": "Incorporated", "ltd": "Limited",
    "co": "Company", "corp": "Corporation", "rd": "Road", "ln": "Lane", "hwy": "Highway",
    "sq": "Square", "pl": "Place",
}  # fmt: skip
# Before a number: one, several.
BEFORE_NUMBER = {
    "no": ("number", "numbers"), "nos": ("numbers", "numbers"), "nr": ("number", "numbers"),
    "p": ("page", "pages"), "pp": ("pages", "pages"), "vol": ("volume", "volumes"),
    "vols": ("volumes", "volumes"), "ch": ("chapter", "chapters"), "chap": ("chapter", "chapters"),
    "fig": ("figure", "figures"), "figs": ("figures", "figures"), "sec": ("section", "sections"),
    "sect": ("section", "sections"), "art": ("article", "articles"),
    "eq": ("equation", "equations"),
    "par": ("paragraph", "paragraphs"), "para": ("paragraph", "paragraphs"),
    "ver": ("version", "versions"), "op": ("opus", "opus"), "c": ("circa", "circa"),
    "ca": ("circa", "circa"), "ext": ("extension", "extensions"),
    "apt": ("apartment", "apartments"),
    "rm": ("room", "rooms"), "pt": ("part", "parts"), "ex": ("example", "examples"),
    "approx": ("approximately", "approximately"), "v": ("verse", "verses"),
}  # fmt: skip
# Expanded in capitals too; CA. or MS. are other things.
ALSO_CAPITALS = frozenset({"mr", "mrs", "dr", "jr", "sr", "no", "nos", "vs"})
ABBREVIATED = {"st", "dr", *ABBREVIATIONS, *BEFORE_NUMBER, *BEFORE_NAME, *AFTER_NAME}
# Words with a capital that are not the names that abbreviations follow.
NOT_NAMES = set(
    str.split(
        """The A An And But Or Nor So If When Then As At In On Of For From By With To Dear Hello
        Hi Hey Good Morning Is Was Are Were Has Had Have Will Would Can Could This That These
        Those There Here He She It We They You His Her Its Our Your Their My Who What Where
        Why How Which Yes No Not Near Visit See Saw Ask Call Thank Thanks Meet Said Our Since
        After Before Until While Because Although Though Both Either Every Each Some Many
        Most All Only Even Just Also Now Today Yesterday Tomorrow Old Young Poor Mister
        Missus Doctor Professor
        """
    )
)

# Words before and after which a number of four digits is, or is not, a year.
YEAR_BEFORE = re.compile(
    r"(?:\b(?:in|since|from|until|till|by|during|before|after|around|about|circa|year|years|to|"
    r"early|late|mid|summer|spring|autumn|fall|winter|of|and|class|AD|ca?\.|between|"
    r"January|February|March|April|May|June|July|August|September|October|November|December|"
    r"Jan\.?|Feb\.?|Mar\.?|Apr\.?|Jun\.?|Jul\.?|Aug\.?|Sept?\.?|Oct\.?|Nov\.?|Dec\.?),?[ -]"
    r"|[\"'(]|[0-9](?:st|nd|rd|th),? |[a-z.] [0-9]{1,2}, )$",
    re.I,
)
COUNTED = set(
    str.split("people men women children feet percent euro sheep deer fish more other of")
)
# What looks like a plural noun behind a number but is none.
NOT_NOUNS = set(
    str.split(
        """was is has does this his its as us yes always perhaps sometimes thus across towards
        besides unless afterwards in on at for from to and or but with by when while that
        which who it he she the a an of per each is are were had have will would could should
        can may might more less than if because so then also again back now here there goes
        says comes becomes
        """
    )
)

ROMAN_AFTER = set(
    str.split(
        """chapter chap chapters part parts book volume vol section act scene article appendix
        figure fig table title lesson unit type phase stage level grade class factor war bowl
        no number mark mk rule plate psalm canto case category division group episode module
        step apollo gemini saturn corps zone form schedule exhibit annex
        """
    )
)
REGNAL = set(
    str.split(
        """Henry Louis George Edward Richard William Charles James Elizabeth Mary Philip Peter
        Catherine Frederick Friedrich Wilhelm Francis Ferdinand Alexander Nicholas Napoleon
        Pius Paul Leo Gregory Benedict Clement Innocent Urban Boniface Sixtus Julius Adrian
        Alfonso Carlos Juan Felipe John Robert David Harald Olaf Haakon Christian Gustav Karl
        Rudolf Otto Leopold Albert Baudouin Ramses Ramesses Thutmose Amenhotep Ptolemy
        Cleopatra Darius Xerxes Cyrus Artaxerxes Mehmed Murad Selim Suleiman Ivan Vladimir
        Boris Stephen Ladislaus Casimir Sigismund Margaret Anne Victoria Joseph Maximilian
        Umberto Emmanuel Xavier Andrew Constantine Theodosius Justinian
        """
    )
)

# Acronyms that are said as words, and those that look like words but are spelled.
SAID_AS_WORDS = set(
    str.split(
        """NASA NATO UNESCO UNICEF OPEC AIDS RADAR LASER SCUBA FIFA UEFA NAFTA SWAT NOAA OSHA
        FEMA ASEAN COVID SARS MERS PIN SIM RAM ROM GIF ZIP SOHO DARPA NASDAQ CERN CAPTCHA
        POTUS SCOTUS BASIC COBOL ASCII LAN WAN JPEG BIOS SOAP REST CRUD SONAR TASER INTERPOL
        EURATOM BREXIT MIDI YAML TOML LORA IKEA LEGO NIMBY YOLO FOMO WASP SALT START PETA
        MENSA IMAX TED DOS
        """
    )
)
SAID_AS_LETTERS = set(
    str.split(
        """USA US UK EU UN UAE USSR FBI CIA NSA IBM AI IT ID TV PC CD DVD HIV UFO VIP CEO CFO
        CTO CIO COO HR PR IQ EQ ATM FAQ ACLU NAACP ISBN YMCA YWCA IRA IRS NBA NFL MLB NHL
        NCAA ABC NBC CNN BBC ESPN AOL ISP URL API GUI IDE SQL HTML CSS XML USB CPU GPU DNA
        RNA MRI EKG ECG ICU ER GP AM PM AD BC BCE CE PA DIY ETA RSVP ASAP FYI BYOB MIT UCLA
        LA NYC DC SUV EPA FAA FCC FDA UPS MPH AKA AAA BA MA MBA PhD OED EEG IP IO OS UI UX
        AWS GE GM HP EDT EST PDT PST GMT UTC IPO IOU USC IEEE IUPAC OECD IAEA ILO IMF OAS OAU
        PLO IDF ANC ETF AR VR ADHD PTSD OCD IBS
        """
    )
)
# Short words that people write in capitals for stress.
SHOUTED = set(
    str.split(
        """THE AND NOT IT US YES NO STOP HELP NOW NEVER ALL ANY ARE BUT CAN DID FOR GET GO GOT
        HAD HAS HE HER HIM HIS HOW I IF IN IS LET MAY ME MUST MY NEW OF OFF OLD ON ONE OR OUR
        OUT OWN PUT RUN SAY SEE SHE SO TO TOO TOP TRY TWO UP USE WAS WAY WE WHO WHY WIN WON
        YOU YOUR WHAT WHEN WHERE THIS THAT THERE HERE WITH FROM HAVE WILL JUST ONLY VERY MORE
        MOST SOME GOOD BAD BIG LOVE HATE DO DOES DONE AT AS BE BY AN AM OH AH HA WOW HEY HI
        BYE PLEASE THANKS SORRY WAIT LOOK REALLY END AGO DAY MAN MEN TEN SIX FUN SAD MAD RED
        BOY GIRL SEA SKY SUN EAR EYE ARM LEG ART AGE AIR ACT ADD ASK ATE BAG BED BIT BOX BUS
        BUY CAR CAT CUT DOG EAT EGG FAR FEW FIX FLY HOT ICE INK JOB JOY KEY KID LAW LAY LIE
        LOT LOW MAP MIX NET NOR ODD OIL PAY PEN PIE PIT POT RAW ROW SET SIT SON TAX TEA TIE
        TIP TOY WAR WET YET ZOO
        """
    )
)
# Spellings with capitals inside that are said by letters, and other fixed ones.
SPELLINGS = {
    "PhD": "P H D", "PhDs": "P H D's", "MSc": "M S C", "BSc": "B S C", "DPhil": "D Phil",
    "iOS": "I O S", "pH": "P H", "OK": "okay", "Ok": "okay", "ok": "okay", "TVs": "T V's",
    "WWI": "World War one", "WWII": "World War two", "WW1": "World War one",
    "WW2": "World War two", "WiFi": "Wi-Fi", "Wifi": "Wi-Fi", "wifi": "Wi-Fi",
}  # fmt: skip

# Words in lower case that are not simply said as they stand.
SPECIAL = frozenset({*ABBREVIATED, *SPELLINGS})

ONSETS = set(
    str.split(
        """B C D F G H J K L M N P Q R S T V W X Z BL BR CH CL CR DR FL FR GL GR KL KN KR PH PL
        PR PS QU SC SCH SCR SH SHR SK SL SM SN SP SPL SPR ST STR SW TH THR TR TW WH WR Y SPH
        CHR
        """
    )
)

DOMAINS = frozenset(
    str.split(
        """com org net edu gov mil int info biz io ai dev app tv me eu uk us ca au de nl fr es ch at
    se dk fi pl ru jp cn br html htm pdf txt py js exe zip jpg png mp3 wav csv json xml docx xlsx
    """
    )
)
SPELLED_DOMAINS = set(
    str.split("www uk us eu tv io ai nl fr de au ca jp ch se dk pl cn br pdf js mp")
)
ADDRESS_SIGNS = {
    ".": "dot", "@": "at", "/": "slash", "-": "dash", "_": "underscore", ":": "colon",
    "?": "question mark",
    "=": "equals", "&": "and", "#": "hash", "%": "percent", "+": "plus", "~": "tilde",
}  # fmt: skip

SIGNS = {
    "&": "and", "@": "at", "+": "plus", "=": "equals", "%": "percent", "‰": "per mille",
    "°": "degrees", "§": "section", "§§": "sections", "©": "copyright", "®": "registered",
    "™": "trademark", "±": "plus or minus", "×": "times", "÷": "divided by", "≈": "approximately",
    "≠": "is not equal to", "≤": "is less than or equal to", "≥": "is greater than or equal to",
    "<": "less than", ">": "greater than", "→": "to", "∞": "infinity", "√": "square root of",
    "$": "dollar", "£": "pound", "€": "euro", "¥": "yen", "¢": "cent", "№": "number",
    "\\": "backslash", "^": "caret", "−": "minus", "²": "squared", "³": "cubed",
    "℃": "degrees Celsius",
    "℉": "degrees Fahrenheit", "½": "one half", "¼": "one quarter", "¾": "three quarters",
    "w/o": "without", "w/": "with", "c/o": "care of", "w/out": "without", "++": "plus plus",
}  # fmt: skip

GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψω",
        str.split(
            """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron
            pi rho sigma tau upsilon phi chi psi omega
            """
        ),
        strict=True,
    )
) | {"ς": "sigma", "ϕ": "phi", "ϑ": "theta"}  # fmt: skip
