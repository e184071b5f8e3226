"""What a bootloader does with a UF2 file."""

from __future__ import annotations

import struct


def flashed(file: bytes, family: int) -> dict[int, bytes]:
    """What a bootloader of that family writes: 256 bytes by address; asserts what the format says of every block."""
    assert len(file) % 512 == 0
    pages: dict[int, bytes] = {}
    for number in range(len(file) // 512):
        block = file[number * 512 : (number + 1) * 512]
        assert block[:8] == b"UF2\n\x57\x51\x5d\x9e"
        flags, address, size, at, count, of = struct.unpack("<6I", block[8:32])
        assert (flags, size, at, count, of) == (0x2000, 256, number, len(file) // 512, family)
        assert address % 256 == 0
        assert not any(block[32 + size : 508])
        assert block[508:] == b"\x30\x6f\xb1\x0a"
        pages[address] = block[32 : 32 + size]
    return pages
