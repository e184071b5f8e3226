"""firmware.uf2, block by block, as the format's description and a bootloader read it."""

from __future__ import annotations

import pytest

from pipeline.codegen import uf2
from tests.support.uf2 import flashed

RP2040, SAMD21 = 0xE48B_FF56, 0x68ED_2B88


@pytest.mark.parametrize(("size", "blocks"), [(0, 0), (1, 1), (256, 1), (257, 2), (5000, 20)])
@pytest.mark.parametrize(("address", "family"), [(0x1000_0000, RP2040), (0x2000, SAMD21)])
def test_blocks_hold_the_image_page_after_page(size: int, blocks: int, address: int, family: int) -> None:
    content = bytes(i * 37 % 251 for i in range(size))
    pages = flashed(uf2.encode(content, address, family), family)
    assert list(pages) == [address + 256 * i for i in range(blocks)]
    assert b"".join(pages.values()) == content.ljust(256 * blocks, b"\0")
