#!/usr/bin/env python3
"""Writes the two PDF files of examples/handbook with nothing but the Python standard library.

    python3 tools/handbook_pdf.py            writes both files
    python3 tools/handbook_pdf.py --check    fails if a committed file differs from what would be written

The bytes depend on the text below alone: no dates, no random identifiers. The safety manual has compressed page streams
(encoded here, so that no version of zlib changes them), the warranty terms have plain ones, so that a PDF reader meets both.

In the text, a line that starts with "# " is the title, "## " a heading and "- " a list item; a blank line ends a
paragraph, a line "---" begins a new page, and "~" is a space at which no line is broken.
"""

import pathlib
import sys
import zlib

OUT = pathlib.Path(__file__).resolve().parent.parent / "examples" / "handbook"

SAFETY_MANUAL = """
# Safety manual

This manual is for everybody who works at Harrowmere, at Stenfold, at the Pell Hill test field or on a customer's roof. It is kept by Ruta Bellweather, the safety officer, and is read aloud in parts during the safety induction. Anyone may stop any work that looks dangerous, whatever their role, and nobody will be blamed for a stop that turns out to have been unnecessary.

## 1. Fire

When the alarm sounds, leave by the nearest marked exit, close doors behind you and do not use the lift. At Harrowmere the assembly point is the old~weighbridge on the far side of the car park. At Stenfold it is the gravel~lot beside the bus stop. Each building should be empty within 3~minutes. Stay at the assembly point until a fire warden has ticked your name, because a person who walks off is a person whom somebody will search for.

The wardens at Harrowmere are Odile Marchwood, Pernille Hask and Oskar Thornby; at Stenfold they are Florian Greave and Ansel Quaye. Wardens wear an orange vest and are the only people who may send others back into a building. A full evacuation is practised twice a year, in~April~and~October, and at least one of the two drills is not announced.

Try to put out a fire only if it is smaller than a waste bin and you have a clear way out behind you. Carbon dioxide extinguishers hang beside electrical benches, foam extinguishers in the corridors. A used or broken seal is reported the same day, and a replacement is hung up within 48~hours. Extinguishers are inspected every two years by an outside firm.

## 2. First aid

First aid boxes hang in every kitchen and beside the workshop door. Their contents are checked on the first Monday of the month. The defibrillator at Harrowmere is on the ground floor beside the lift, and the one at Stenfold is in the entrance of the calibration lab. Trained first aiders have a green dot on their badge. There are nine~first~aiders in the company, and each repeats the course every two years.
---
## 3. Accidents and near misses

Every injury, however small, is written into the accident book within 24~hours, by the injured person or by a witness. Ruta Bellweather looks into each entry and reports the result to the people concerned within ten working days. If somebody has been taken to hospital, the managing director is called at once, at any hour, and the place is left as it is until Ruta has seen it.

## 4. Workshop

Safety glasses are worn everywhere beyond the yellow line, also by visitors and by people who only want to ask something. Hearing protection is required where the sign shows 85~decibels, which at present means the punch and the compressor room. Long hair is tied back, and gloves are never worn at the lathe or the pillar drill. Machines with a red plate may be used only by people named on the plate.

Nobody lifts more than 20~kg alone. For heavier things use the hoist, the lifting table or a second person. The forklift may be driven only with a company permit, which is valid for 3~years and is issued by Florian Greave after a practical test. The keys of the forklift hang in his office, and the vehicle is parked with its fork on the ground.

## 5. Chemicals

The binder beside the steel cabinet holds a data sheet for each substance. At most 5~litres of isopropanol may stand in the workshop at one time; the rest stays in the outdoor store. If something splashes into your eyes, rinse them at the eye shower for at least 15~minutes and have somebody call for help in the meantime. Empty containers go to Florian Greave and never into the household waste.
---
## 6. Batteries

Our battery packs contain lithium iron phosphate cells, which are tame but not harmless. They are stored in the grey cabinets, charged to about half, with at most 40~packs in each cabinet. A pack that is swollen, dented or warm is carried outside in a sand bucket and reported to extension 215. Never charge a pack without supervision overnight, and never ship a damaged one by air.

## 7. Masts and heights

Work above two metres needs a harness, a helmet and a second person on the ground. Harnesses are inspected every 6~months and are withdrawn after eight years even if they look new. Climbing is forbidden when the mean wind is stronger than 9~metres~per~second, when the mast is wet with ice, and in the dark. Tilting masts are lowered rather than climbed whenever the ground allows it.

If you hear thunder, come down and go indoors or into the van. Work on a mast may begin again 30~minutes after the last thunder. Before raising a mast, look for power lines: the distance must be at least one and a half times the length of the mast. The lead field engineer, Gus Maroney, signs the plan for every mast that is taller than six metres.

## 8. Working alone

People who work alone at a remote site report by message to the support desk every two~hours. If a report is 20~minutes late, the desk calls; if nobody answers a second call, it alerts the emergency services and gives the location from the trip plan. Work on masts, with mains voltage or on water is never done alone. A satellite messenger for places without phone coverage can be borrowed from Gus Maroney.
---
## 9. Pell Hill

The test field lies at the end of Drover's Track, four kilometres beyond the village of Nether Pell. The gate is locked, and its key hangs in the van. The hut has heating, a first aid box, water and a landline, number 01632~960188. The nearest emergency department is at Saint Aldric's Hospital in Stenfold, about 25 minutes by car. In snow the track is closed, and nobody sets out without asking Ruta Bellweather.

## 10. Driving

Company vans are checked by their driver before each trip: tyres, lights, load and windscreen. After two~and~a~half~hours at the wheel take a break of at least 20 minutes. A working day that includes driving ends after 11~hours at the latest; after that you sleep in a hotel, and nobody will question the bill. Telephones are used only while the van is parked, also with a headset.

## 11. Who to call

- Emergency services: 112, from any phone
- Security company, day and night: extension 200
- Ruta Bellweather, safety officer: extension 215
- Florian Greave, workshop foreman: extension 263

If you are not sure whom to call, call extension 200. The security company has a copy of this manual and a list of the people on duty. This manual is reviewed every January, and a suggestion that improves it is worth a cake.
"""

WARRANTY_TERMS = """
# Warranty terms

These terms say what Brightwell Instruments promises to the buyer of a new instrument, and what it does not. They apply to every product that was bought from Brightwell or from an authorised dealer. They do not limit the rights that the law gives to consumers.

## 1. Warranty periods

The warranty begins on the day of delivery. Its length depends on the kind of product:

- Weather stations and gateways: 36~months
- Instruments and probes: 24~months
- Masts and mounting parts: 60~months
- Batteries, cables and other accessories: 12~months

A buyer who registers an instrument on the support portal within 60~days of delivery receives 6~additional~months at no charge. Registration asks for the serial number, the place of installation and the name of the operator. Batteries cannot be registered. The extension belongs to the instrument and passes to a later owner.

## 2. What is covered

We repair or replace, at our choice, any product that fails because of a defect in material or workmanship. Work and parts are free of charge. If a product cannot be repaired within 40~working~days, the buyer may ask for a new one of the same or a better kind. Replaced parts become the property of Brightwell.

A product that does not work when it is unpacked is exchanged at once if this is reported within 14~days of delivery. In this case we send the replacement by express before the faulty product has arrived, and we collect the faulty one at our own cost from any address on the mainland.

The drift of a measured value is covered as well. A Wren probe is regarded as defective if it drifts by more than 0.4~degrees within a year, and a Merlin anemometer if it drifts by more than 0.3~metres~per~second. For a Heron 5 rain gauge the limit is 3~percent of the collected amount. The measurement is made in our own lab and is recorded in a certificate.
---
## 3. What is not covered

The warranty does not cover damage by lightning, flood, salt spray, vandalism or animals, nor damage that results from mounting against the instructions. It ends when a seal has been broken by anybody other than Brightwell or a certified partner. Normal wear of bearings, filters and batteries is not a defect. A battery is regarded as worn when it has passed 1,500~charging~cycles.

## 4. How to make a claim

A fault has to be reported within 21~days of its discovery, by ticket or by letter, together with the serial number and the invoice. Support then issues a return number. Pack the instrument in its original box or in one that is equally strong; damage in transit through poor packing is not covered. Please do not send batteries unless you are asked to.

For valid claims in the first 12~months we pay the shipping in both directions. After that the buyer pays for the way to Stenfold and we pay for the way back. Customs duties are paid by the party in whose country they arise. If no fault is found, the inspection fee from the current price agreement is charged.

## 5. After a repair

A repaired or replaced instrument is covered for the rest of the original period, and in any case for at least 9~months. The repair report lists the parts that were changed and the firmware that was installed. Settings of the customer are kept where possible; we recommend a backup of the configuration before each return.

## 6. Spare parts

We supply spare parts for each product for at least 8~years after the end of its production. The end of production is announced on the support portal a year ahead, and a last order can be placed until then. Parts for older instruments are supplied while the stock lasts.
---
## 7. Extended warranty

Before the original period ends, the buyer can extend it by one, two or three years. The price of the extension is 7~percent of the list price for each year. The extension starts where the original warranty ends, and includes one inspection per year. It cannot be bought for batteries, nor for instruments that are older than five years.

## 8. Software

We warrant for 90~days from delivery that the software works as its manual describes, and we correct errors that prevent this. No software is free of errors, and we do not promise uninterrupted operation of the cloud service. Planned maintenance of that service is announced 5~days ahead.

## 9. Change of owner

The warranty can be transferred when an instrument is sold. The new owner sends form~W-7, signed by both parties, within 30~days of the sale. The transfer is free of charge. It does not restart or lengthen any period.

## 10. Liability

Our total liability under these terms is limited to the purchase price of the product concerned. We are not liable for lost profit, for flights that were cancelled or for turbines that were stopped because of a reading. This limit does not apply to injury, to intent or to gross negligence.

## 11. Disputes and law

Should a disagreement arise, both sides first try to settle it by talking, for at least 28~days. If that fails, they may call on the mediator of the Harrowmere chamber of trade, whose fee is shared in equal parts. The place of jurisdiction is Harrowmere. If one clause of these terms is invalid, the others remain in force.

## 12. Contact

Warranty questions are answered by the support team at support@brightwell.example. Letters go to Brightwell Instruments, Warranty Desk, Unit 6, Quarry Road, Stenfold. Please name the serial number, which is engraved on the base of every instrument and begins with the letters BW.
"""

# Advance widths of Helvetica for the characters 32 to 126, in thousandths of the font size.
WIDTHS = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
]
PAGE_WIDTH, PAGE_HEIGHT, MARGIN = 595, 842, 64
BODY_SIZE, LEADING = 10.5, 14.5


def width(text, size):
    return sum(WIDTHS[ord(c) - 32] for c in text) * size / 1000


def wrap(text, size, room):
    """Breaks text at spaces into lines no wider than room; "~" becomes a space that does not break."""
    lines, line = [], ""
    for word in text.split():
        word = word.replace("~", " ")
        longer = f"{line} {word}" if line else word
        if line and width(longer, size) > room:
            lines.append(line)
            line = word
        else:
            line = longer
    return lines + [line]


def show(text, font, size, x, y):
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"BT /{font} {size:g} Tf {x:g} {y:g} Td ({escaped}) Tj ET"


def layout(source):
    """The content stream of each page, as text."""
    title = source.strip().splitlines()[0].removeprefix("# ")
    pages = []
    for number, text in enumerate(source.strip().split("\n---\n"), start=1):
        y, ops = PAGE_HEIGHT - MARGIN, []
        for paragraph in text.strip().splitlines():
            font, size, indent, before = "F1", BODY_SIZE, 0, 0
            if not paragraph:
                y -= LEADING / 2
                continue
            if paragraph.startswith("# "):
                paragraph, font, size, before = paragraph[2:], "F2", 20, 6
            elif paragraph.startswith("## "):
                paragraph, font, size, before = paragraph[3:], "F2", 13, 4
            elif paragraph.startswith("- "):
                indent = 14
            y -= before
            for line in wrap(paragraph, size, PAGE_WIDTH - 2 * MARGIN - indent):
                ops.append(show(line, font, size, MARGIN + indent, y))
                y -= max(LEADING, size * 1.2)
        if y < MARGIN:
            sys.exit(f"{title}: page {number} is too full by {MARGIN - y:.0f} points")
        ops.append(show(f"Brightwell Instruments - {title} - page {number}", "F1", 8, MARGIN, 36))
        pages.append("\n".join(ops) + "\n")
    return title, pages


def deflate(data):
    """A zlib stream of one block of literals in the fixed Huffman code (RFC 1951, section 3.2.6); data is ASCII."""
    bits = 0b011  # last block, fixed codes; the stream is filled from the lowest bit upwards
    length = 3
    for byte in data:
        bits |= int(f"{byte + 0x30:08b}"[::-1], 2) << length  # codes go in with their highest bit first
        length += 8
    length += 7  # the end-of-block code is seven zeros
    return b"\x78\x01" + bits.to_bytes((length + 7) // 8, "little") + zlib.adler32(data).to_bytes(4, "big")


def pdf(source, compressed):
    title, pages = layout(source)
    first_page = 6
    kids = " ".join(f"{first_page + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Lang (en) >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
        f"<< /Title ({title}) /Author (Brightwell Instruments) >>".encode(),
    ]
    for i, content in enumerate(pages):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {PAGE_WIDTH} {PAGE_HEIGHT}] "
            f"/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> /Contents {first_page + 2 * i + 1} 0 R >>".encode()
        )
        data, filters = content.encode("ascii"), ""
        if compressed:
            data, filters = deflate(data), "/Filter /FlateDecode "
        objects.append(f"<< {filters}/Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream")

    out, offsets = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{offset:010d} 00000 n \n".encode() for offset in offsets)
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info 5 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def main():
    files = {
        "safety-manual.pdf": pdf(SAFETY_MANUAL, compressed=True),
        "warranty-terms.pdf": pdf(WARRANTY_TERMS, compressed=False),
    }
    for name, data in files.items():
        path = OUT / name
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_bytes() != data:
                sys.exit(f"{name} differs: run python3 tools/handbook_pdf.py")
        else:
            path.write_bytes(data)


if __name__ == "__main__":
    main()
