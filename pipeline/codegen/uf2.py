"""UF2: firmware as blocks that each say where they go, for bootloaders that show a drive (github.com/microsoft/uf2)."""

from __future__ import annotations

import struct

FILE = "firmware.uf2"
BLOCK_BYTES, DATA_BYTES, PAYLOAD_BYTES = 512, 476, 256
"""Of a block, of its room for data, and of the data in it: 256 is a page of every flash that takes UF2."""
MAGIC_START, MAGIC_END = (0x0A32_4655, 0x9E5D_5157), 0x0AB1_6F30
FAMILY_PRESENT = 0x2000
"""Flag: the last word of the header is the family id."""
_HEADER = struct.Struct("<8I")


def encode(content: bytes, address: int, family: int) -> bytes:
    """The UF2 file that writes `content` to the flash at `address`, a multiple of 256; family: id of the MCU's family.

    Pages follow each other without a gap and the last is filled with zeros: the RP2040's ROM erases by the number of a
    block, which is right for these only (raspberrypi/pico-sdk, issue 762).
    """
    assert address % PAYLOAD_BYTES == 0
    pages = [content[at : at + PAYLOAD_BYTES] for at in range(0, len(content), PAYLOAD_BYTES)]
    blocks = []
    for number, page in enumerate(pages):
        place = address + number * PAYLOAD_BYTES
        header = _HEADER.pack(*MAGIC_START, FAMILY_PRESENT, place, PAYLOAD_BYTES, number, len(pages), family)
        blocks.append(header + page.ljust(DATA_BYTES, b"\0") + MAGIC_END.to_bytes(4, "little"))
    return b"".join(blocks)
