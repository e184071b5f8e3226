"""rig: which unit is where, with the devices of a bench that is not here."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import board
from pipeline.core.errors import ConfigError, DeviceError
from pipeline.device import rig
from pipeline.device.rig import Location, Port, Probe, Rig, Unit

NUCLEO = Port("/dev/ttyACM0", "0483:374b", "0670FF4855", "STM32 STLink")
TWIN = Port("/dev/ttyACM1", "0483:374b", "0671FF1234", "STM32 STLink")
ADAPTER = Port("/dev/ttyUSB0", "0403:6001", "A50285BI", "FT232R USB UART")
OLD = Port("/dev/ttyS0", "", "", "ttyS0")


def where(*arguments, **options) -> tuple[str | None, str]:
    """Port and serial number of the probe that `locate` finds."""
    return rig.locate(*arguments, **options)[:2]


@pytest.fixture
def nucleo() -> board.Board:
    return board.load("netduinoplus2").model_copy(update={"usb_ids": ("0483:374b",)})


def test_the_only_port_with_the_boards_usb_id_is_taken(nucleo):
    assert where(nucleo, Rig(), [OLD, ADAPTER, NUCLEO]) == ("/dev/ttyACM0", "0670FF4855")


def test_a_named_port_is_taken_unseen(nucleo):
    assert where(nucleo, Rig(), [NUCLEO, TWIN], port="/dev/ttyACM1") == ("/dev/ttyACM1", "0671FF1234")
    assert where(nucleo, Rig(), [], port="/dev/pts/7") == ("/dev/pts/7", "")
    assert where(nucleo, Rig(), [ADAPTER], port="/dev/ttyUSB0") == ("/dev/ttyUSB0", ""), "no probe"


def test_one_of_two_equal_boards_is_told_by_its_serial_number(nucleo):
    bench = rig.add(rig.add(Rig(), nucleo, NUCLEO, name="left"), nucleo, TWIN, name="right")
    swapped = [NUCLEO._replace(device="/dev/ttyACM1"), TWIN._replace(device="/dev/ttyACM0")]
    assert where(nucleo, bench, swapped, unit="left") == ("/dev/ttyACM1", "0670FF4855")
    assert where(nucleo, bench, swapped, unit="0671FF1234") == ("/dev/ttyACM0", "0671FF1234")


def test_an_adapter_and_a_probe_of_its_own(nucleo):
    bench = rig.add(Rig(), nucleo, ADAPTER, probe="53FF6D06")
    assert where(nucleo, bench, [NUCLEO, ADAPTER]) == ("/dev/ttyUSB0", "53FF6D06")
    bench = rig.add(Rig(), nucleo, OLD)
    assert bench.unit[0].port == "/dev/ttyS0"
    assert where(nucleo, bench, []) == ("/dev/ttyS0", "")


@pytest.mark.parametrize(
    ("bench", "present", "unit", "expected"),
    [
        ([], [], "", "no port has its USB id; ports here: none"),
        ([], [ADAPTER, OLD], "", "no port has its USB id; ports here: /dev/ttyUSB0, /dev/ttyS0"),
        ([], [NUCLEO, TWIN, OLD], "", "more than one port may be it; ports here: /dev/ttyACM0, /dev/ttyACM1"),
        ([NUCLEO], [TWIN], "", "unit '0670FF4855' (serial number 0670FF4855) is not plugged in; ports here: /dev/tty"),
        ([NUCLEO, TWIN], [NUCLEO, TWIN], "", "more than one unit in rig.toml; units: 0670FF4855, 0671FF1234"),
        ([NUCLEO], [NUCLEO], "middle", "no unit 'middle' in rig.toml; units: 0670FF4855"),
        ([], [NUCLEO], "left", "no unit 'left' in rig.toml; units: none"),
    ],
)
def test_what_cannot_be_told_is_listed(nucleo, bench, present, unit, expected):
    known = Rig(unit=tuple(Unit(board=nucleo.name, serial_number=port.serial_number) for port in bench))
    with pytest.raises(DeviceError) as caught:
        rig.locate(nucleo, known, present, unit=unit)
    assert expected in str(caught.value)
    assert caught.value.hint


def test_an_emulated_board_is_nowhere_unless_a_real_one_is_meant(tmp_path):
    emulated = board.load("netduinoplus2")
    path = tmp_path / "rig.toml"
    assert rig.find(emulated, path=path) == Location(None, "")
    assert rig.find(emulated, port="/dev/pts/9", path=path) == Location("/dev/pts/9", "")
    with pytest.raises(DeviceError, match="no unit 'left'"):
        rig.find(emulated, unit="left", path=path)


def test_several_units_are_those_of_the_rig_that_are_plugged_in(nucleo):
    bench = rig.add(rig.add(rig.add(Rig(), nucleo, NUCLEO), nucleo, ADAPTER), board.load("host"), TWIN)
    found = rig.locate_several(nucleo, bench, [ADAPTER, TWIN, NUCLEO], 2)
    assert [location.port for location in found] == [NUCLEO.device, ADAPTER.device]
    with pytest.raises(DeviceError, match=r"'netduinoplus2': 2 devices wanted, 1 there: /dev/ttyUSB0") as caught:
        rig.locate_several(nucleo, bench, [ADAPTER, TWIN], 2)
    assert "--devices 1" in caught.value.hint
    with pytest.raises(DeviceError, match="2 devices wanted, 0 there: none"):
        rig.locate_several(nucleo, bench, [], 2)


def test_several_units_without_a_rig_are_told_by_their_usb_id(nucleo):
    found = rig.locate_several(nucleo, Rig(), [OLD, NUCLEO, ADAPTER, TWIN], 2)
    assert [location.port for location in found] == [NUCLEO.device, TWIN.device]


def test_several_emulators_are_nowhere_and_one_port_is_not_several(tmp_path):
    emulated, path = board.load("netduinoplus2"), tmp_path / "rig.toml"
    assert rig.find_several(emulated, 3, path=path) == (Location(None),) * 3
    assert rig.find_several(emulated, 1, port="/dev/pts/9", path=path) == (Location("/dev/pts/9"),)
    with pytest.raises(ConfigError, match="2 devices wanted, but port /dev/pts/9 is one"):
        rig.find_several(emulated, 2, port="/dev/pts/9", path=path)


def test_a_port_to_note_is_picked_or_named(nucleo):
    assert rig.pick(nucleo, [OLD, NUCLEO]) == NUCLEO
    assert rig.pick(nucleo, [OLD, NUCLEO, TWIN], "/dev/ttyS0") == OLD
    with pytest.raises(DeviceError, match="no port '/dev/ttyACM7'; ports here: /dev/ttyACM0"):
        rig.pick(nucleo, [NUCLEO], "/dev/ttyACM7")


def test_a_rig_survives_its_file(nucleo, tmp_path):
    bench = rig.add(rig.add(Rig(), nucleo, NUCLEO, name='left "Ä" \\'), nucleo, OLD, probe="53FF")
    rig.save(bench, tmp_path / "rig.toml")
    assert rig.load(tmp_path / "rig.toml") == bench
    assert rig.load(tmp_path / "none.toml") == Rig()


def test_a_name_that_cannot_be_is_refused_before_it_is_noted(nucleo):
    bench = rig.add(Rig(), nucleo, NUCLEO, name="left")
    for name, said in (
        ("left", "are called 'left'"),
        ("a\nb", "one line"),
        ("-x", "--unit"),
    ):
        with pytest.raises(ConfigError, match=said):
            rig.add(bench, nucleo, TWIN, name=name)


def test_a_unit_is_known_once(nucleo):
    bench = rig.add(rig.add(Rig(), nucleo, NUCLEO, name="old"), board.load("host"), NUCLEO, name="new")
    assert [(unit.board, unit.name) for unit in bench.unit] == [("host", "new")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[[unit]]\nboard = "host"\n', "needs serial_number or port"),
        ('[[unit]]\nboard = "hots"\nport = "/dev/x"\n', "unit '/dev/x': unknown board 'hots'; did you mean 'host'?"),
        ('[[unit]]\nboard = "host"\nserial = "1"\n', "unknown key 'unit.0.serial'; did you mean 'serial_number'?"),
        ("[[unit]]\nboard = host\n", "not valid TOML"),
        ('[[unit]]\nboard = "host"\nport = "a"\nname = "x\\u001b[2J"\n', "must be one line of printable characters"),
        (
            '[[unit]]\nboard = "host"\nport = "a"\nname = "--port"\n',
            "name '--port': --unit would take it for an option",
        ),
        (
            '[[unit]]\nboard = "host"\nport = "a"\nname = "b"\n[[unit]]\nboard = "host"\nport = "b"\n',
            "unit: two of board 'host' are called 'b'",
        ),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, text, expected):
    path = tmp_path / "rig.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        rig.load(path)
    assert str(caught.value).startswith(str(path))
    assert expected in str(caught.value)


def usb_device(root: Path, place: str, **attributes: str) -> None:
    """A device folder as the kernel makes one."""
    folder = root / place
    folder.mkdir(parents=True)
    for name, value in attributes.items():
        (folder / name).write_text(value + "\n")


def test_probes_are_found_among_the_usb_devices(tmp_path):
    usb_device(tmp_path, "1-1", idVendor="0483", idProduct="374b", serial="0670FF4855", product="STM32 STLink")
    usb_device(tmp_path, "1-1:1.0", bInterfaceClass="ff")
    usb_device(tmp_path, "1-2", idVendor="046d", idProduct="c31c", product="USB Keyboard")
    usb_device(tmp_path, "1-3", idVendor="1366", idProduct="0105", serial="000683", product="J-Link")
    usb_device(tmp_path, "1-4", idVendor="c251", idProduct="f001", product="Somebody's CMSIS-DAP")
    assert rig.probes(tmp_path) == (
        Probe("ST-LINK/V2-1", "0483:374b", "0670FF4855", "STM32 STLink"),
        Probe("J-Link", "1366:0105", "000683", "J-Link"),
        Probe("CMSIS-DAP", "c251:f001", "", "Somebody's CMSIS-DAP"),
    )
    assert rig.probes(tmp_path / "nothing") == ()


def test_ports_of_this_machine_are_listed():
    """Whatever they are: each exists, and USB ports carry an id."""
    for port in rig.ports():
        assert Path(port.device).exists()
        assert port.usb_id == "" or len(port.usb_id) == 9


def test_candidates_are_the_boards_with_the_ports_usb_id():
    for name in board.names():
        for usb_id in board.load(name).usb_ids:
            assert name in rig.candidates(NUCLEO._replace(usb_id=usb_id))
    assert rig.candidates(OLD) == ()


def test_a_location_is_followed_to_its_ports_new_name(nucleo, monkeypatch):
    found = rig.locate(nucleo, Rig(), [NUCLEO])
    monkeypatch.setattr(rig.serial, "ports", lambda: (NUCLEO._replace(device="/dev/ttyACM1"), ADAPTER))
    assert found.port_now() == "/dev/ttyACM1"
    assert rig.locate(nucleo, Rig(), [NUCLEO], port="/dev/ttyACM0").port_now() == "/dev/ttyACM1"
    assert Location("127.0.0.1:5555").port_now() == "127.0.0.1:5555"
    assert Location(None).port_now() is None
