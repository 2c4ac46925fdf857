"""PDF documents: which page is read and what is drawn on it, and refusals of damaged and hostile documents."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image
from pypdfium2 import PdfiumError

from app.decoding import pdf, uploads
from app.decoding.formats import UploadLimits
from app.decoding.pool import DecoderPool
from app.decoding.uploads import count_pages, read_upload
from app.domain.errors import DamagedImage, NoSuchPage, TooExpensive, TooManyPixels, UnsupportedImage
from model.preprocessing.ink import Canvas
from tests.app.decoding import documents
from tests.app.test_api import enrol, verify

Draw = Callable[..., bytes]
LIMITS = UploadLimits(max_bytes=10**7, max_pixels=10**7)
CANVAS = Canvas(64, 128, "moments", 0.8)
SQUARE = b"0 g 0 0 100 100 re f"
INK_ANNOTATION = (
    b"<</Type/Annot/Subtype/Ink/Rect[10 10 290 190]/C[0 0 .5]/BS<</W 3>>/F 4"
    b"/InkList[[20 20 100 150 200 30 280 180]]>>"
)
APPEARANCE = documents.stream(
    b"/Type/XObject/Subtype/Form/BBox[0 0 100 50]/Resources<</XObject<</I 7 0 R>>>>",
    b"100 0 0 50 0 0 cm /I Do",
)
BLACK = documents.image_object(100, 50, zlib.compress(bytes(5000)))


def read(data: bytes, page: int = 0, max_pixels: int = LIMITS.max_pixels) -> NDArray[np.uint8]:
    return read_upload(data, None, UploadLimits(LIMITS.max_bytes, max_pixels), page).grey


def signature(draw: Draw, n: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(draw(1, n))).convert("L")


def test_page_is_rendered_at_300_dpi() -> None:
    grey = read(documents.page(SQUARE, box=b"[0 0 612 792]"))
    assert grey.shape == (3300, 2550)
    assert np.all(grey[-416:, :416] == 0)
    assert np.all(grey[:2800] == 255)


def test_rotation_of_a_page_is_applied() -> None:
    assert read(documents.page(SQUARE, entries=b"/Rotate 90")).shape == (1250, 834)


@pytest.mark.parametrize("box", [b"[0 0 14400 14400]", b"[0 0 100000 100000]", b"[0 0 20000 300]"])
def test_large_page_is_rendered_within_the_limit_of_pixels(box: bytes) -> None:
    grey = read(documents.page(SQUARE, box=box), max_pixels=10**6)
    assert 0.97 * 10**6 < grey.size <= 10**6
    assert max(grey.shape) <= uploads.MAX_SIDE


def test_page_at_the_limit_of_the_side() -> None:
    assert max(read(documents.page(SQUARE, box=b"[0 0 14000 100]")).shape) <= uploads.MAX_SIDE


@pytest.mark.parametrize("box", [b"[0 0 0 0]", b"[0 0 100 0]", b"[0 0 1e9 1e9]", b"[a b]"])
def test_page_without_a_usable_size_is_rendered_as_letter(box: bytes) -> None:
    assert read(documents.page(SQUARE, box=box)).shape == (3300, 2550)


def test_page_that_is_only_wide_is_refused() -> None:
    with pytest.raises(DamagedImage, match="not the shape of a document"):
        read(documents.page(SQUARE, box=b"[0 0 100 .01]"))


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_scan_is_rendered_at_its_own_resolution(draw: Draw, rotation: int) -> None:
    image = signature(draw)
    points = (image.width * 0.72, image.height * 0.72)  # 100 dpi
    grey = read(documents.scan(image, points, b"/Rotate %d" % rotation))
    expected = np.rot90(np.asarray(image), -rotation // 90)
    assert np.array_equal(grey, expected)


def test_scan_with_recognized_text_is_rendered_at_its_own_resolution(draw: Draw) -> None:
    image = signature(draw)
    grey = read(documents.scan(image, (400, 200), text=b"BT 3 Tr /F 24 Tf 20 100 Td (Hello) Tj ET"))
    assert min(grey.shape[0] / image.height, grey.shape[1] / image.width) == pytest.approx(1, abs=0.01)


def test_scan_with_visible_text_is_rendered_at_300_dpi(draw: Draw) -> None:
    grey = read(documents.scan(signature(draw), (288, 144), text=b"BT /F 24 Tf 20 100 Td (Hello) Tj ET"))
    assert grey.shape == (600, 1200)


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "CMYK"])
def test_document_of_an_image_program_gives_the_image(draw: Draw, mode: str) -> None:
    image = signature(draw)
    grey = read(documents.saved(image.convert(mode), resolution=150))
    expected = np.asarray(image.convert(mode).convert("L"))
    assert grey.shape == expected.shape
    assert np.abs(grey.astype(int) - expected).mean() < 5


@pytest.mark.parametrize(
    "objects",
    [
        (INK_ANNOTATION,),
        (b"<</Type/Annot/Subtype/Stamp/Rect[50 50 150 100]/F 4/AP<</N 6 0 R>>>>", APPEARANCE, BLACK),
        (
            b"<</Type/Annot/Subtype/Widget/FT/Sig/T(S)/Rect[50 50 150 100]/F 132/P 3 0 R/AP<</N 6 0 R>>>>",
            APPEARANCE,
            BLACK,
        ),
    ],
    ids=["ink", "stamp", "signature field"],
)
def test_annotations_and_form_fields_are_drawn(objects: tuple[bytes, ...]) -> None:
    data = documents.page(
        b"", *objects, entries=b"/Annots[5 0 R]", catalog=b"/AcroForm<</Fields[5 0 R]/SigFlags 3>>"
    )
    assert np.count_nonzero(read(data) < 128) > 10_000


def test_colours_are_converted_like_those_of_images() -> None:
    for colour, expected in ((b"0 0 1", 29), (b"1 0 0", 76), (b"0 0 .5", 15)):
        assert abs(int(read(documents.page(colour + b" rg 0 0 300 200 re f")).max()) - expected) <= 2


def test_transparency_is_laid_on_white_paper() -> None:
    states = b"/ExtGState<</G<</ca .5>>>>"
    grey = read(documents.page(b"/G gs 0 g 0 0 300 200 re f", resources=states))
    assert set(np.unique(grey)) <= {127, 128}


def test_only_the_requested_page_is_read(draw: Draw) -> None:
    images = [signature(draw, n) for n in range(3)]
    data = documents.saved(*(image.convert("1") for image in images))
    assert count_pages(data) == 3
    for n, image in enumerate(images):
        assert np.array_equal(read(data, n), np.asarray(image.convert("1").convert("L")))
    with pytest.raises(NoSuchPage, match="3 pages"):
        read(data, 3)


def test_maximum_number_of_pages() -> None:
    assert read(documents.pages(200), 199).shape == (3300, 2550)
    begin = time.process_time()
    for count in (201, 10_000):
        with pytest.raises(TooExpensive, match=rf"{count:,} pages; the maximum is 200"):
            read(documents.pages(count))
    assert time.process_time() - begin < 1


def test_header_may_follow_other_bytes() -> None:
    assert read(b"\r\nContent-Type: application/pdf\r\n\r\n" + documents.page(SQUARE)).shape == (834, 1250)


def encrypted(handler: bytes) -> bytes:
    leaf = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>"
    return documents.document(
        documents.CATALOG, documents.ONE_PAGE, leaf, handler, trailer=b"/Encrypt 4 0 R/ID[<00><00>]"
    )


@pytest.mark.parametrize(
    "handler",
    [
        b"<</Filter/Standard/V 1/R 2/O<%b>/U<%b>/P -4>>" % (b"41" * 32, b"42" * 32),
        b"<</Filter/Adobe.PubSec/V 1>>",
    ],
    ids=["password", "certificate"],
)
def test_encrypted_document_is_refused(handler: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="encrypted"):
        read(encrypted(handler))


LEAF = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>"
DAMAGED: dict[str, tuple[Callable[[], bytes], int]] = {
    "header only": (lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", 0),
    "truncated": (lambda: documents.page(SQUARE)[:200], 0),
    "no pages": (lambda: documents.document(documents.CATALOG, b"<</Type/Pages/Kids[]/Count 0>>"), 0),
    "no catalog": (lambda: documents.document(b"<<>>"), 0),
    "fewer pages than stated": (
        lambda: documents.document(documents.CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 9>>", LEAF),
        5,
    ),
    "tree of pages that contains itself": (
        lambda: documents.document(documents.CATALOG, b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 9>>"),
        5,
    ),
    "deep nesting": (lambda: documents.document(documents.CATALOG, documents.ONE_PAGE, b"[" * 100_000), 0),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_document_is_refused(what: str) -> None:
    make, page = DAMAGED[what]
    begin = time.process_time()
    with pytest.raises(DamagedImage, match="PDF document is truncated or corrupt"):
        read(make(), page)
    assert time.process_time() - begin < 1


def test_image_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    data = documents.page(
        b"300 0 0 200 0 0 cm /I Do",
        documents.image_object(60_000, 60_000, b"not even compressed"),
        resources=b"/XObject<</I 5 0 R>>",
    )
    with pytest.raises(TooManyPixels, match=r"60,000 x 60,000"):
        read(data)


@pytest.mark.parametrize("kind", [KeyError, TypeError, ValueError, RuntimeError])
def test_exception_of_our_own_code_is_not_a_damaged_document(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def broken(*_: object) -> None:
        raise kind("ours")

    monkeypatch.setattr(pdf, "_check_images", broken)
    with pytest.raises(kind, match="ours"):
        read(documents.page(SQUARE))


def test_exception_of_pdfium_is_a_damaged_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pypdfium2.raw.FPDF_LoadPage", lambda *_: None)
    with pytest.raises(DamagedImage) as raised:
        read(documents.page(SQUARE))
    assert isinstance(raised.value.__cause__, PdfiumError)


def test_service_process_does_not_load_pdfium() -> None:
    code = "import app.main, sys; print([n for n in ('pypdfium2', 'pi_heif') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def forms(depth: int, uses: int = 10) -> tuple[bytes, ...]:
    """Return forms of which each draws the next one several times; the first is object 5."""
    draws = b"/F Do " * uses
    return (
        *(
            documents.stream(
                b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</F %d 0 R>>>>" % (6 + n),
                draws,
            )
            for n in range(depth)
        ),
        documents.stream(b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]", b"0 0 9 9 re f"),
    )


HOSTILE: dict[str, Callable[[], bytes]] = {
    "content that fills the memory": lambda: documents.page(
        documents.repeated(b"q ", 200 << 20), content_entries=b"/Filter/FlateDecode"
    ),
    "content compressed twice": lambda: documents.page(
        zlib.compress(documents.repeated(b"\0", 1 << 30), 9),
        content_entries=b"/Filter[/FlateDecode/FlateDecode]",
    ),
    "forms within forms": lambda: documents.page(
        b"/F Do " * 10, *forms(9), resources=b"/XObject<</F 5 0 R>>"
    ),
    "pattern of a billion tiles": lambda: documents.page(
        b"/Pattern cs /P scn 0 0 300 200 re f",
        documents.stream(
            b"/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 .01 .01]/XStep .001/YStep .001"
            b"/Resources<<>>",
            b"0 0 1 1 re f",
        ),
        resources=b"/Pattern<</P 5 0 R>>",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_page_that_takes_too_much_memory_or_time_is_refused(draw: Draw, what: str) -> None:
    decoders = DecoderPool(1, patience_s=60, memory_mb=512)
    decoders.check()
    data = HOSTILE[what]()
    assert len(data) < LIMITS.max_bytes
    with pytest.raises(TooExpensive, match=r"memory|processor time"):
        decoders.read(data, None, 0, LIMITS, CANVAS)
    assert decoders.read(draw(1, 0), None, 0, LIMITS, CANVAS).prepared.canvas.any()
    decoders.close()


def test_image_with_more_data_than_pixels_is_read_up_to_its_pixels() -> None:
    data = documents.page(
        b"300 0 0 200 0 0 cm /I Do",
        documents.image_object(300, 200, documents.repeated(b"\0", 1 << 30)),
        resources=b"/XObject<</I 5 0 R>>",
    )
    begin = time.process_time()
    assert read(data).shape == (200, 300)
    assert time.process_time() - begin < 1


def test_document_is_verified_like_the_image_and_served_as_it_was_sent(
    client: TestClient, draw: Draw
) -> None:
    data = documents.saved(*(signature(draw, n).convert("1") for n in range(2)))
    enrol(client, "a", *(draw(1, n) for n in range(3)))
    files = [("files", ("contract.pdf", data))]
    enrolled = client.post("/signers/b/references", files=files, data={"page": "1"})
    assert enrolled.status_code == 201, enrolled.text
    (reference,) = enrolled.json()["references"]
    assert reference["media_type"] == "application/pdf"
    image = client.get(f"/signers/b/references/{reference['reference_id']}/image")
    assert (image.content, image.headers["content-type"]) == (data, "application/pdf")
    assert image.headers["content-disposition"] == "attachment"
    from_pdf = verify(client, "a", documents.saved(signature(draw, 5))).json()
    from_image = verify(client, "a", draw(1, 5)).json()
    assert from_pdf["distance"] == pytest.approx(from_image["distance"], abs=0.03)


def test_blank_page_points_to_the_other_pages(client: TestClient) -> None:
    refused = client.post("/signers/a/references", files=[("files", ("f.pdf", documents.pages(3)))])
    assert refused.json()["code"] == "blank-image"
    assert "The file has 3 pages and page 0 was read" in refused.json()["detail"]
