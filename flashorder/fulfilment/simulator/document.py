"""A label as a PDF of one page, A6, written by hand (ISO 32000-1, section 7.5)."""

from __future__ import annotations

from collections.abc import Sequence

_WIDTH_POINTS, _HEIGHT_POINTS = 298, 420
_LINES_MAX = 18
_CHARACTERS_MAX = 44


def label_pdf(tracking_number: str, lines: Sequence[str]) -> bytes:
    """The page: the number large and as bars, then ``lines``; what does not fit is cut."""
    text = [f"BT /F1 20 Tf 20 380 Td ({_escaped(tracking_number)}) Tj ET"]
    text += [
        f"BT /F1 10 Tf 20 {270 - 14 * row} Td ({_escaped(line[:_CHARACTERS_MAX])}) Tj ET"
        for row, line in enumerate(lines[:_LINES_MAX])
    ]
    stream = "\n".join([*_bars(tracking_number), *text]).encode("latin-1", "replace")
    return _document(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents 5 0 R"
            b" /Resources << /Font << /F1 4 0 R >> >> >>" % (_WIDTH_POINTS, _HEIGHT_POINTS),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>",
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        ]
    )


def _document(objects: Sequence[bytes]) -> bytes:
    """``objects`` numbered from 1 with their cross-reference table."""
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for offset in offsets:
        out += b"%010d 00000 n \n" % offset
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\n" % (len(objects) + 1)
    out += b"startxref\n%d\n%%%%EOF\n" % table
    return bytes(out)


def _bars(tracking_number: str) -> list[str]:
    """Stripes drawn from the bits of the number: they look like a bar code and are none."""
    bits = "".join(f"{byte:08b}" for byte in tracking_number.encode())
    step = (_WIDTH_POINTS - 40) / len(bits)
    return [
        f"{20 + place * step:.2f} 295 {step:.2f} 70 re f"
        for place, bit in enumerate(bits)
        if bit == "1"
    ]


def _escaped(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
