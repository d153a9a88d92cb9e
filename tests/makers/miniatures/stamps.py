"""Tux Paint's stamps in small."""

from tests.makers.miniatures.files import media

PACKAGE = """Debian's tuxpaint-stamps-default 2022.06.04-1, unpacked: one folder for each kind, translations in the .txt, 7,858 sounds .ogg and
    15 .wav, 248 SVG beside 796 PNG, of which 11 have no description, and letters, whose sounds say their names. Of 961 pictures 925 are
    described aloud in French and 134 have a sound of their own; of the PNG that are no letters or digits, 589 and 107."""
LOOKED_UP = {"tuxpaint": PACKAGE, "tuxpaint-speech": PACKAGE}


def stamps(suffix: str) -> dict[str, str | bytes]:
    names = ("animals/marsupials/koala", "animals/birds/duck", "symbols/alphabets/latin/a")
    return (
        media("usr/share/tuxpaint/stamps", *names, "seasonal/dreydl_mirror", ending="png")
        | media("usr/share/tuxpaint/stamps", *(name + suffix for name in names), ending="wav")
        | media("usr/share/tuxpaint/stamps", "animals/birds/duck_desc_nl", ending="ogg")
        | {
            "usr/share/tuxpaint/stamps/animals/marsupials/koala.txt": "A koala.\nfr.utf8=Un koala.\nde.utf8=Ein Koalabär.\n",
            "usr/share/tuxpaint/stamps/animals/birds/duck.txt": "A duck.\nfr.utf8=Un canard.\n",
            "usr/share/tuxpaint/stamps/symbols/alphabets/latin/a.txt": "The letter A.\n",
            "usr/share/tuxpaint/stamps/animals/birds/duck.dat": "",
            "usr/share/tuxpaint/stamps/animals/birds/goose.svg": "<svg/>",
        }
    )


FILES = {"tuxpaint": stamps(""), "tuxpaint-speech": stamps("_desc_fr")}
