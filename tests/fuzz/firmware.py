"""Builds and runs the fuzzer of the firmware's link and application: python -m tests.fuzz.firmware [SECONDS]."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pipeline.core import shell
from pipeline.protocol import wire
from tests.support import mirror

CLANG = "clang"
FLAGS = ("-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE")
SANITIZERS = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
HERE = Path(__file__).parent
SHAPE = (100,)
"""Elements of a sample: more than a frame holds, so that answers are cut."""
LINKS = {
    "keeps a base": {"buffers": "sample", "max_payload": 80, "rx_buffer_bytes": 1024},
    "without a base": {"buffers": "piece", "max_payload": 80, "rx_buffer_bytes": 1024},
}


def missing() -> str:
    """Why the fuzzer cannot be built here; "" when it can."""
    if shell.find(CLANG) is None:
        return f"clang is not installed: {shell.install_hint(CLANG)}"
    resources = Path(shell.run([CLANG, "-print-resource-dir"]).output.strip())
    runtime = next(resources.glob("lib/*/libclang_rt.fuzzer*"), None)
    return "" if runtime else "clang has no libFuzzer: install libclang-rt-dev"


def built(folder: Path, **link: int | str) -> Path:
    """The fuzzer of the mirror with that link, compiled in the folder."""
    sources = mirror.sources(mirror.with_link("host", **link), SHAPE)
    for path, text in sources.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    places = sorted({(folder / path).parent for path in sources.files})
    program = folder / "fuzzer"
    files = [HERE / "firmware_fuzz.c", folder / "generated/model.c"]
    included = [word for place in (*places, HERE) for word in ("-I", place)]
    shell.run([CLANG, *FLAGS, *SANITIZERS, *included, *files, "-o", program], timeout_s=300)
    return program


def _request(name: str, *numbers: int, tail: int = 0) -> bytes:
    """A request as firmware_fuzz.c reads it from a script: kind, type, seq, fields, length and pattern of the tail."""
    return bytes([0x80, wire.BY_NAME[name].code, 7, *numbers, tail, 0x81])


def scripts() -> list[bytes]:
    """Whole conversations, from which the fuzzer departs: by chance alone it never completes a sample."""
    first = _request("INPUT", 1, 0, tail=60) + _request("INPUT", 1, 60, tail=40)
    whole = _request("HELLO", wire.PROTOCOL) + first + _request("RUN", 1, 1, 1)
    looks = _request("TENSOR", 0, 90, 70) + _request("TICKS", 0) + _request("STATS") + _request("RUN", 1, 1, 0)
    deltas = [
        _request("DELTA", 2, 1, 0, bits, tail=(100 * bits + 7) // 8) + _request("RUN", 2, 2, 0)
        for bits in wire.DELTA_BITS[:5]
    ]
    # Of a new ticket nothing is received, also where the piece begins after the end of the sample.
    beyond = b"".join(_request("DELTA", 2, 1, offset, 4) for offset in (1, 100, 101, 0xFF))
    after = [_request("HELLO", wire.PROTOCOL), _request("RESET"), _request("ECHO", tail=80)]
    # The first and the last byte of each layer's output, and the first one after it; flips of every byte of a frame.
    ends = b"".join(
        _request("TENSOR", layer, 8, size + i) for layer, size in ((0, 100), (1, 10)) for i in (-1, 0, 1, 4)
    )
    flips = b"".join(b"\x21" + _request("ECHO")[1:] + bytes([place]) for place in range(8))
    more = (*deltas, *(a + deltas[0] for a in after), b"\x20" + first, ends, flips, beyond)
    return [whole + looks + part for part in more]


def fuzz(program: Path, *options: str, timeout_s: float) -> shell.Result:
    """Runs it; an answer that the document does not allow, or a sanitizer's finding, is a ToolError. The input that
    showed it lies beside the program."""
    corpus = program.parent / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, script in enumerate(scripts()):
        (corpus / f"conversation{number}").write_bytes(script)
    fixed = ("-max_len=1024", "-print_final_stats=1", f"-artifact_prefix={program.parent}/", "-len_control=0")
    return shell.run([program, *fixed, *options, corpus], timeout_s=timeout_s)


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    for name, link in LINKS.items():
        with tempfile.TemporaryDirectory() as folder:
            done = fuzz(built(Path(folder) / "fuzz", **link), f"-max_total_time={seconds}", timeout_s=2 * seconds + 60)
        [count] = [line.split()[-1] for line in done.output.splitlines() if "number_of_executed_units" in line]
        print(f"{name}: {count} scripts, every answer as docs/PROTOCOL.md has it")


if __name__ == "__main__":
    main()
