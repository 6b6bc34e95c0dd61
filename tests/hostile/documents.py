"""Small files that expand to large ones: archives, spreadsheets, PDFs."""

import io
import zipfile
import zlib

TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
SHEETS = f'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{OFFICE}"'
WORDS = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def archive(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as into:
        for name, content in files:
            into.writestr(name, content)
    return packed.getvalue()


def docx(body):
    types = (
        f'<Types xmlns="{TYPES}"><Default Extension="xml" ContentType="application/xml"/>'
        '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.'
        'wordprocessingml.document.main+xml"/></Types>'
    )
    document = f'<?xml version="1.0"?><w:document {WORDS}><w:body>{body}</w:body></w:document>'
    return archive([("[Content_Types].xml", types), ("word/document.xml", document)])


def xlsx(sheet):
    kinds = f"{OFFICE}/officeDocument", f"{OFFICE}/worksheet"
    types = (
        f'<Types xmlns="{TYPES}"><Default Extension="xml" ContentType="application/xml"/>'
        '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.'
        'spreadsheetml.sheet.main+xml"/></Types>'
    )

    def relation(kind, target):
        return f'<Relationships xmlns="{RELATIONS}"><Relationship Id="rId1" Type="{kind}" Target="{target}"/></Relationships>'

    return archive(
        [
            ("[Content_Types].xml", types),
            ("_rels/.rels", relation(kinds[0], "xl/workbook.xml")),
            (
                "xl/workbook.xml",
                f'<workbook {SHEETS}><sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>',
            ),
            ("xl/_rels/workbook.xml.rels", relation(kinds[1], "worksheets/sheet1.xml")),
            ("xl/worksheets/sheet1.xml", f"<worksheet {SHEETS}>{sheet}</worksheet>"),
        ]
    )


def wide_sheet(rows):
    """16,384 columns, which each row has in the output, although all but one of its cells are empty."""
    first = "<row>" + "<c><v>1</v></c>" * 16384 + "</row>"
    return xlsx("<sheetData>" + first + "<row><c><v>1</v></c></row>" * rows + "</sheetData>")


def far_cell():
    """Two cells in opposite corners of the largest sheet."""
    cells = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    return xlsx(f'<dimension ref="A1:XFD1048576"/><sheetData>{cells}</sheetData>')


def stream(data, entries=b""):
    return b"<< /Length %d %s >>\nstream\n" % (len(data), entries) + data + b"\nendstream"


def pdf(content, entries=b"", extra=()):
    """One page with this content stream."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> /XObject << /X 6 0 R >> >> >>",
        stream(content, entries),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        *extra,
    ]
    text, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(text))
        text += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    tail = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(text))
    return text + head + table + tail


def pdf_bomb(mebibytes):
    """A page whose content is compressed twice."""
    content = b"BT /F1 12 Tf (" + b"a" * (mebibytes << 20) + b") Tj ET"
    packed = zlib.compress(zlib.compress(content, 9), 9)
    return pdf(packed, b"/Filter [/FlateDecode /FlateDecode]")


def recursive_form():
    """A form that draws itself twice."""
    form = stream(
        b"/X Do /X Do",
        b"/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Resources << /XObject << /X 6 0 R >> >>",
    )
    return pdf(b"/X Do", extra=[form])
