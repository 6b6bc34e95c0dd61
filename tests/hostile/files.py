"""Files that expand when they are read, or that take very long."""

import time

from case import LIMITS, Case, ends
from documents import archive, docx, far_cell, pdf, pdf_bomb, recursive_form, wide_sheet
from workflows import single


def converter(kind, fields=""):
    return single(f"converters.{kind}", fields)


def canceled_converter():
    """Canceling a run stops its converter."""

    def check(world):
        server = world.server
        attributes = b" ".join(b"a%d=1" % number for number in range(400_000))
        run = server.start_run("converter-canceled", world.attacker, {}, [("x.html", b"<p " + attributes + b">x</p>")])
        time.sleep(0.5)
        server.cancel("converter-canceled", world.attacker, run)
        time.sleep(3)
        before = server.cpu_seconds()
        time.sleep(2)
        used = server.cpu_seconds() - before
        assert used < 1, f"{used} s of processor time in 2 s after the run had been canceled"

    return Case("converter-canceled", check, {"converter-canceled": (converter("HTMLConverter"), LIMITS)})


CASES = [
    ends("csv-rows", converter("CSVConverter"), attached=[("x.csv", b"a,b\n" + b"1,2\n" * 7_900_000)]),
    ends(
        "csv-columns",
        converter("CSVConverter"),
        attached=[("x.csv", b",".join(b"c%d" % n for n in range(20_000)) + b"\n" + b",\n" * 200_000)],
    ),
    ends("xlsx-wide", converter("ExcelFileConverter"), attached=[("x.xlsx", wide_sheet(8000))] * 3),
    ends("xlsx-far-cell", converter("ExcelFileConverter"), attached=[("x.xlsx", far_cell())]),
    ends(
        "docx-bomb",
        converter("DOCXFileConverter"),
        attached=[("x.docx", docx("<w:p><w:r><w:t>" + "a" * (200 << 20) + "</w:t></w:r></w:p>"))],
    ),
    ends(
        "docx-deep",
        converter("DOCXFileConverter"),
        attached=[("x.docx", docx("<w:p>" * 300_000 + "</w:p>" * 300_000))],
    ),
    ends(
        "pptx-bomb",
        converter("PPTXFileConverter"),
        attached=[("x.pptx", archive([("ppt/slides/slide1.xml", b"<a>" + b" " * (300 << 20) + b"</a>")]))],
    ),
    ends("pdf-bomb", converter("PyPDFConverter"), attached=[("x.pdf", pdf_bomb(256))]),
    ends("pdf-recursive-form", converter("PyPDFConverter"), attached=[("x.pdf", recursive_form())]),
    ends("pdf-deep-array", converter("PyPDFConverter"), attached=[("x.pdf", pdf(b"[" * 500_000 + b"]" * 500_000))]),
    ends("html-deep", converter("HTMLConverter"), attached=[("x.html", b"<div>" * 500_000 + b"x")]),
    ends("html-lists", converter("HTMLConverter"), attached=[("x.html", b"<ul><li>" * 100_000 + b"x")]),
    ends("html-tables", converter("HTMLConverter"), attached=[("x.html", b"<table><tr><td>" * 50_000 + b"x")]),
    canceled_converter(),
]
