"""PDF documents written by hand, object by object."""

from __future__ import annotations

import io
import zlib

from PIL import Image

ONE_PAGE = b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"


def document(*objects: bytes, trailer: bytes = b"") -> bytes:
    """Return a document of these objects, numbered from 1; the first is the catalog."""
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<</Size %d/Root 1 0 R%b>>\n" % (len(objects) + 1, trailer)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % table)


def stream(entries: bytes, data: bytes) -> bytes:
    return b"<<%b/Length %d>>stream\n%b\nendstream" % (entries, len(data), data)


def page(
    content: bytes = b"",
    *objects: bytes,
    box: bytes = b"[0 0 300 200]",
    entries: bytes = b"",
    resources: bytes = b"",
    catalog: bytes = b"",
    content_entries: bytes = b"",
) -> bytes:
    """Return a document of one page; `objects` are numbered from 5."""
    return document(
        b"<</Type/Catalog/Pages 2 0 R%b>>" % catalog,
        ONE_PAGE,
        b"<</Type/Page/Parent 2 0 R/MediaBox%b/Contents 4 0 R/Resources<<%b>>%b>>"
        % (box, resources, entries),
        stream(content_entries, content),
        *objects,
    )


def pages(count: int) -> bytes:
    """Return a document of `count` blank pages."""
    kids = b" ".join(b"%d 0 R" % (3 + n) for n in range(count))
    leaf = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]>>"
    return document(CATALOG, b"<</Type/Pages/Count %d/Kids[%b]>>" % (count, kids), *[leaf] * count)


def image_object(width: int, height: int, data: bytes) -> bytes:
    """Return a grey image; `data` is compressed by Deflate."""
    return stream(
        b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray/BitsPerComponent 8"
        b"/Filter/FlateDecode" % (width, height),
        data,
    )


def scan(image: Image.Image, points: tuple[float, float], entries: bytes = b"", text: bytes = b"") -> bytes:
    """Return a document of one page, of `points` width and height, that is filled by a grey image."""
    width, height = points
    return page(
        b"q %.3f 0 0 %.3f 0 0 cm /I Do Q %b" % (width, height, text),
        image_object(*image.size, zlib.compress(image.convert("L").tobytes())),
        box=b"[0 0 %.3f %.3f]" % (width, height),
        resources=b"/XObject<</I 5 0 R>>/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>",
        entries=entries,
    )


def saved(*images: Image.Image, **options: object) -> bytes:
    """Return a document of these images, a page for each, as Pillow writes it."""
    out = io.BytesIO()
    images[0].save(out, "PDF", save_all=True, append_images=images[1:], **options)
    return out.getvalue()


def repeated(unit: bytes, size: int) -> bytes:
    """Return `size` bytes of repeated `unit`, compressed by Deflate."""
    packer = zlib.compressobj(9)
    block = unit * ((1 << 20) // len(unit))
    return b"".join([*(packer.compress(block) for _ in range(size >> 20)), packer.flush()])
