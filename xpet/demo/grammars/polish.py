"""Polish captions of the demo world."""

from __future__ import annotations

from xpet.demo.grammars._slavic import SlavicGrammar

_TREE = "n drzewo drzewa drzewo drzewem drzewa drzew drzewami"


def _plural(gender: str, case: str) -> tuple[str, str]:
    """After a numeral the accusative is the nominative."""
    case = "nom" if case == "acc" else case
    return case, f"pl_{case}"


GRAMMAR = SlavicGrammar(
    plural=_plural,
    conjunction="i",
    verbs=("znajduje się", "znajdują się"),
    nouns={
        "ball": (
            "f piłka piłki piłkę piłką piłki piłek piłkami",
            "f piłeczka piłeczki piłeczkę piłeczką piłeczki piłeczek piłeczkami",
        ),
        "box": (
            "n pudełko pudełka pudełko pudełkiem pudełka pudełek pudełkami",
            "f skrzynka skrzynki skrzynkę skrzynką skrzynki skrzynek skrzynkami",
        ),
        "star": (
            "f gwiazda gwiazdy gwiazdę gwiazdą gwiazdy gwiazd gwiazdami",
            "f gwiazdka gwiazdki gwiazdkę gwiazdką gwiazdki gwiazdek gwiazdkami",
        ),
        "tree": (
            "f choinka choinki choinkę choinką choinki choinek choinkami",
            _TREE,
            "m świerk świerka świerk świerkiem świerki świerków świerkami",
        ),
        "house": (
            "m dom domu dom domem domy domów domami",
            "m domek domku domek domkiem domki domków domkami",
        ),
        "car": (
            "m samochód samochodu samochód samochodem samochody samochodów samochodami",
            "n auto auta auto autem auta aut autami",
        ),
        "boat": (
            "f żaglówka żaglówki żaglówkę żaglówką żaglówki żaglówek żaglówkami",
            "f łódka łódki łódkę łódką łódki łódek łódkami",
        ),
        "fish": (
            "f ryba ryby rybę rybą ryby ryb rybami",
            "f rybka rybki rybkę rybką rybki rybek rybkami",
        ),
        "flower": (
            "m kwiat kwiatu kwiat kwiatem kwiaty kwiatów kwiatami",
            "m kwiatek kwiatka kwiatek kwiatkiem kwiatki kwiatków kwiatkami",
        ),
        "cup": ("m kubek kubka kubek kubkiem kubki kubków kubkami",),
        "heart": (
            "n serce serca serce sercem serca serc sercami",
            "n serduszko serduszka serduszko serduszkiem serduszka serduszek serduszkami",
        ),
        "moon": (
            "m księżyc księżyca księżyc księżycem księżyce księżyców księżycami",
            "m półksiężyc półksiężyca półksiężyc półksiężycem półksiężyce półksiężyców półksiężycami",
        ),
        "mushroom": (
            "ma grzyb grzyba grzyba grzybem grzyby grzybów grzybami",
            "ma grzybek grzybka grzybka grzybkiem grzybki grzybków grzybkami",
        ),
        "umbrella": (
            "m parasol parasola parasol parasolem parasole parasoli parasolami",
            "f parasolka parasolki parasolkę parasolką parasolki parasolek parasolkami",
        ),
        "bottle": ("f butelka butelki butelkę butelką butelki butelek butelkami",),
        "hat": (
            "m kapelusz kapelusza kapelusz kapeluszem kapelusze kapeluszy kapeluszami",
            "m cylinder cylindra cylinder cylindrem cylindry cylindrów cylindrami",
        ),
    },
    colours={
        "red": ("czerwon-hard",),
        "green": ("zielon-hard",),
        "blue": ("niebiesk-velar",),
        "yellow": ("żółt-hard",),
        "black": ("czarn-hard",),
        "white": ("biał-hard",),
        "orange": ("pomarańczow-hard",),
        "purple": ("fioletow-hard",),
    },
    sizes={
        "small": ("mał-hard", "niewielk-velar", "malutk-velar"),
        "large": ("duż-hard", "wielk-velar", "ogromn-hard"),
    },
    endings={
        "hard": "y a e ego ej ą ym ą e ych ymi",
        "velar": "i a ie iego iej ą im ą ie ich imi",
    },
    numerals={
        2: {"nom": ("dwa", "dwie"), "gen": ("dwóch", "dwóch"), "ins": ("dwoma", "dwiema")},
        3: {"nom": ("trzy", "trzy"), "gen": ("trzech", "trzech"), "ins": ("trzema", "trzema")},
    },
    relations={
        "left": (("na lewo od", "gen"), ("po lewej stronie", "gen"), ("z lewej strony", "gen")),
        "right": (("na prawo od", "gen"), ("po prawej stronie", "gen"), ("z prawej strony", "gen")),
        "above": (("nad", "ins"), ("tuż nad", "ins"), ("powyżej", "gen")),
        "below": (("pod", "ins"), ("tuż pod", "ins"), ("poniżej", "gen")),
        "beside": (("obok", "gen"), ("koło", "gen"), ("tuż obok", "gen")),
    },
    backgrounds={
        "meadow": ("na łące", "na trawie", "na zielonej łące"),
        "beach": ("na plaży", "nad morzem", "na piaszczystej plaży"),
        "snow": ("na śniegu", "w śniegu", "w śnieżnej scenerii"),
        "night": ("nocą", "w nocy", "pod nocnym niebem"),
        "wall": ("na tle ceglanego muru", "przed ceglanym murem", "przy ceglanym murze"),
    },
    openings=(
        ("", "nom"),
        ("", "nom"),
        ("", "nom"),
        ("na obrazku widać ", "acc"),
        ("widzimy ", "acc"),
        ("obrazek przedstawia ", "acc"),
        ("obrazek z ", "ins"),
        ("zdjęcie ", "gen"),
    ),
    # The demo's machine translator: one fixed, slightly odd choice each.
    machine_nouns={
        "ball": "f kula kuli kulę kulą kule kul kulami",
        "boat": "f łódź łodzi łódź łodzią łodzie łodzi łodziami",
        "car": "m wóz wozu wóz wozem wozy wozów wozami",
        "cup": "f filiżanka filiżanki filiżankę filiżanką filiżanki filiżanek filiżankami",
        "bottle": "f flaszka flaszki flaszkę flaszką flaszki flaszek flaszkami",
        "tree": _TREE,
    },
    machine_sizes={"small": "mał-hard", "large": "wielk-velar"},
    machine_colours={"purple": "purpurow-hard"},
    machine_relations={
        "left": ("w lewo od", "gen"),
        "right": ("w prawo od", "gen"),
        "above": ("ponad", "ins"),
        "below": ("pod", "ins"),
        "beside": ("blisko", "gen"),
    },
    machine_backgrounds={
        "meadow": "na trawniku",
        "beach": "przy brzegu",
        "snow": "na śniegu",
        "night": "podczas nocy",
        "wall": "przed ścianą z cegieł",
    },
)
