"""What the reference manuals say of the boards' STM32: reset values, flags, clocks, limits. Written apart from the
firmware, to check it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unicorn import arm_const as arm

from pipeline.config.board import Board
from tests.emulated.unicorn_mcu import Chip, Clocks, Flag, Gate, Registers, Switch, Uart, allow, bits

M0 = arm.UC_CPU_ARM_CORTEX_M0
M3 = arm.UC_CPU_ARM_CORTEX_M3
M4 = arm.UC_CPU_ARM_CORTEX_M4
M7 = arm.UC_CPU_ARM_CORTEX_M7
M33 = arm.UC_CPU_ARM_CORTEX_M33
MPU_TYPE, CCSIDR = 0xE000ED90, 0xE000ED80


def chip_of(board: Board) -> Chip:
    """The chip of a board with an STM32."""
    return CHIPS[board.mcu](board)


def gpio_gates(base: int, enable: int, ports: int = 11, first: int = 0) -> tuple[Gate, ...]:
    """Of so many ports, from A on, a bit of the enable register each."""
    return tuple(Gate(base + 0x400 * n, base + 0x400 * n + 0x3FF, enable, first + n) for n in range(ports))


def analog_pins(base: int) -> Registers:
    """MODER of ports A to K after reset where pins start as analog inputs; the debugger's are in ports A and B."""
    return {base + 0x400 * port: {0: 0xABFFFFFF, 1: 0xFFFFFEBF}.get(port, 0xFFFFFFFF) for port in range(11)}


def gate(base: int, enable: int, bit: int) -> Gate:
    """Of a peripheral of 1 KB."""
    return Gate(base, base + 0x3FF, enable, bit)


def identification(mpu_regions: int, data_cache_sets: int = 0) -> Registers:
    """Reset values of MPU_TYPE and CCSIDR."""
    return {MPU_TYPE: mpu_regions << 8, CCSIDR: (data_cache_sets - 1) << 13 if data_cache_sets else 0}


# STM32F2: RM0033. STM32F4: RM0090, RM0390. STM32F7: RM0410, RM0385.
F_CR, F_PLLCFGR, F_CFGR, F_AHB1ENR, F_APB1ENR, F_APB2ENR = (0x40023800 + o for o in (0, 4, 8, 0x30, 0x40, 0x44))
F_ACR, F_PWR_CR, F_PWR_CSR = 0x40023C00, 0x40007000, 0x40007004
F_PRESCALERS = {0: 1, 4: 2, 5: 4, 6: 8, 7: 16}
HSI_HZ = 16e6


def f_clocks(hse_hz: float, uart: int) -> Callable[[Registers], Clocks]:
    def clocks(r: Registers) -> Clocks:
        pll, cfgr = r[F_PLLCFGR], r.get(F_CFGR, 0)
        vco = (hse_hz if bits(pll, 22, 1) else HSI_HZ) / bits(pll, 0, 6) * bits(pll, 6, 9)
        core = {0: HSI_HZ, 1: hse_hz, 2: vco / (2 * bits(pll, 16, 2) + 2)}[bits(cfgr, 2, 2)]
        apb1, apb2 = core / F_PRESCALERS[bits(cfgr, 10, 3)], core / F_PRESCALERS[bits(cfgr, 13, 3)]
        return Clocks(core, core, apb2 if uart == 1 else apb1, apb1 if apb1 == core else 2 * apb1)

    return clocks


def f_check(
    hse_hz: float, normal_hz: float, over_drive_hz: float, slowest_vco_hz: float, has_scales: bool
) -> Callable[[Registers, Clocks], None]:
    def check(r: Registers, c: Clocks) -> None:
        cfgr, pll = r.get(F_CFGR, 0), r[F_PLLCFGR]
        limit_hz = over_drive_hz if bits(r.get(F_PWR_CSR, 0), 17, 1) else normal_hz
        allow(c.core <= limit_hz, f"{c.core / 1e6} MHz without over-drive")
        allow(bits(r.get(F_ACR, 0), 0, 4) >= (c.flash - 1) // 30e6, f"too few wait states at {c.core / 1e6} MHz")
        allow(c.core / F_PRESCALERS[bits(cfgr, 10, 3)] <= limit_hz / 4, "APB1 too fast")
        allow(c.core / F_PRESCALERS[bits(cfgr, 13, 3)] <= limit_hz / 2, "APB2 too fast")
        if bits(r[F_CR], 24, 1):
            vco_input = hse_hz / bits(pll, 0, 6)
            allow(0.95e6 <= vco_input <= 2.1e6, "PLL's input out of range")
            allow(slowest_vco_hz <= vco_input * bits(pll, 6, 9) <= 432e6, "PLL out of range")
            allow(bits(pll, 24, 4) >= 2 and bits(pll, 28, 3) >= 2, "PLLQ or PLLR out of range")
            allow(not has_scales or bits(r[F_PWR_CR], 14, 1) == 1, "the regulator is not at scale 1")
        allow(has_scales or not bits(r.get(F_PWR_CR, 0), 14, 18), "a reserved bit of PWR_CR")
        allow(not bits(r.get(F_PWR_CR, 0), 16, 1) or bits(r[F_CR], 24, 1) == 1, "over-drive while the PLL is off")

    return check


def f_chip(
    cpu: int,
    normal_hz: float,
    over_drive_hz: float,
    sets: int = 0,
    slowest_vco_hz: float = 100e6,
    has_scales: bool = True,
) -> Callable[[Board], Chip]:
    def make(board: Board) -> Chip:
        hse_hz, uart = (float(board.defines[name]) for name in ("STM32_HSE_HZ", "STM32_UART"))
        return Chip(
            cpu=cpu,
            reset={
                **{F_CR: 0x83, F_PLLCFGR: 0x24003010, F_PWR_CR: 0xC000 * has_scales, **identification(8, sets)},
                **{0x40020000: 0xA8000000, 0x40020400: 0x280},
            },
            flags=(
                Flag("HSE", (F_CR, 1 << 16), (F_CR, 1 << 17)),
                Flag("PLL", (F_CR, 1 << 24), (F_CR, 1 << 25), "HSE"),
                Flag("over-drive", (F_PWR_CR, 1 << 16), (F_PWR_CSR, 1 << 16)),
                Flag("over-drive switch", (F_PWR_CR, 1 << 17), (F_PWR_CSR, 1 << 17), "over-drive"),
            ),
            switch=Switch(F_CFGR, 2, {0: "", 1: "HSE", 2: "PLL"}),
            gates=(
                *gpio_gates(0x40020000, F_AHB1ENR),
                gate(0x40007000, F_APB1ENR, 28),
                gate(0x40004400, F_APB1ENR, 17),
                gate(0x40004800, F_APB1ENR, 18),
                gate(0x40011000, F_APB2ENR, 4),
            ),
            uart=Uart({1: 0x40011000, 2: 0x40004400, 3: 0x40004800}[int(uart)], 2 if cpu == M7 else 1),
            clocks=f_clocks(hse_hz, int(uart)),
            check=f_check(hse_hz, normal_hz, over_drive_hz, slowest_vco_hz, has_scales),
        )

    return make


# STM32F1: RM0008, RM0041.
F13_CR, F13_CFGR, F13_APB2ENR, F13_APB1ENR, F13_ACR = 0x40021000, 0x40021004, 0x40021018, 0x4002101C, 0x40022000
F13_HSI_HZ = 8e6


def f13_clocks(hse_hz: float, uart: int) -> Callable[[Registers], Clocks]:
    def clocks(r: Registers) -> Clocks:
        cfgr = r.get(F13_CFGR, 0)
        pll = (hse_hz if bits(cfgr, 16, 1) else F13_HSI_HZ / 2) * min(bits(cfgr, 18, 4) + 2, 16)
        core = {0: F13_HSI_HZ, 1: hse_hz, 2: pll}[bits(cfgr, 2, 2)] / {0: 1, 8: 2}[bits(cfgr, 4, 4)]
        apb1, apb2 = core / F_PRESCALERS[bits(cfgr, 8, 3)], core / F_PRESCALERS[bits(cfgr, 11, 3)]
        return Clocks(core, core, apb2 if uart == 1 else apb1, apb1 if apb1 == core else 2 * apb1)

    return clocks


def f13_check(most_hz: float, has_wait_states: bool) -> Callable[[Registers, Clocks], None]:
    def check(r: Registers, c: Clocks) -> None:
        cfgr = r.get(F13_CFGR, 0)
        allow(c.core <= most_hz, f"{c.core / 1e6} MHz")
        allow(c.core / F_PRESCALERS[bits(cfgr, 8, 3)] <= most_hz / (2 if has_wait_states else 1), "APB1 too fast")
        if has_wait_states:
            allow(bits(r[F13_ACR], 0, 3) >= (c.flash - 1) // 24e6, "too few wait states")
            allow(bits(r[F13_ACR], 4, 1) == 1, "no prefetch")
        else:
            allow(F13_ACR not in r, "this flash has no such register")

    return check


def f1_chip(most_hz: float, has_wait_states: bool = True) -> Callable[[Board], Chip]:
    def make(board: Board) -> Chip:
        hse_hz, uart = float(board.defines["STM32_HSE_HZ"]), int(board.defines["STM32_UART"])
        base = {1: 0x40013800, 2: 0x40004400}[uart]
        acr = {F13_ACR: 0x30} if has_wait_states else {}
        pins = {0x40010800 + offset: 0x44444444 for offset in (0, 4)}
        return Chip(
            cpu=M3,
            reset={F13_CR: 0x83, **acr, **pins, **identification(0)},
            flags=(
                Flag("HSE", (F13_CR, 1 << 16), (F13_CR, 1 << 17)),
                Flag("PLL", (F13_CR, 1 << 24), (F13_CR, 1 << 25), "HSE"),
            ),
            switch=Switch(F13_CFGR, 2, {0: "", 1: "HSE", 2: "PLL"}),
            gates=(
                *gpio_gates(0x40010800, F13_APB2ENR, ports=5, first=2),
                gate(base, *{1: (F13_APB2ENR, 14), 2: (F13_APB1ENR, 17)}[uart]),
            ),
            uart=Uart(base, 1),
            clocks=f13_clocks(hse_hz, uart),
            check=f13_check(most_hz, has_wait_states),
        )

    return make


def f3_chip(board: Board) -> Chip:
    """STM32F303x8, RM0316: USART2 on APB1."""
    rcc_ahbenr = 0x40021014
    return Chip(
        cpu=M4,
        reset={
            **{F13_CR: 0x83, F13_ACR: 0x30, rcc_ahbenr: 0x14, 0x48000000: 0xA8000000, 0x48000400: 0x280},
            **identification(8),
        },
        flags=(
            Flag("HSE", (F13_CR, 1 << 16), (F13_CR, 1 << 17)),
            Flag("PLL", (F13_CR, 1 << 24), (F13_CR, 1 << 25)),
        ),
        switch=Switch(F13_CFGR, 2, {0: "", 1: "HSE", 2: "PLL"}),
        gates=(*gpio_gates(0x48000000, rcc_ahbenr, ports=6, first=17), gate(0x40004400, F13_APB1ENR, 17)),
        uart=Uart(0x40004400, 2),
        clocks=f13_clocks(0.0, 2),
        check=f13_check(72e6, has_wait_states=True),
    )


# STM32H743: RM0433.
H_CR, H_CFGR, H_D1CFGR, H_D2CFGR, H_D3CFGR, H_PLLCKSELR, H_PLLCFGR, H_PLL1DIVR, H_AHB4ENR, H_APB1LENR, H_APB4ENR = (
    0x58024400 + o for o in (0, 0x10, 0x18, 0x1C, 0x20, 0x28, 0x2C, 0x30, 0xE0, 0xE8, 0xF4)
)
H_ACR, H_CSR1, H_CR3, H_D3CR, H_PWRCR, H_IDC = 0x52002000, 0x58024804, 0x5802480C, 0x58024818, 0x5800042C, 0x5C001000
H_HSI_HZ = 64e6
H_AHB_DIVIDERS, H_APB_DIVIDERS = {0: 1, 8: 2, 9: 4}, {0: 1, 4: 2, 5: 4}
H_FLASH_HZ = (70e6, 140e6, 210e6, 225e6, 240e6)
"""Table 17: fastest flash clock by wait states, at supply levels 1 and 0."""
REVISION_V, REVISION_Y = 0x2003, 0x1003


def h_clocks(r: Registers) -> Clocks:
    d1, d2 = r.get(H_D1CFGR, 0), r.get(H_D2CFGR, 0)
    vco = 8e6 / bits(r[H_PLLCKSELR], 4, 6) * (bits(r[H_PLL1DIVR], 0, 9) + 1)
    system = {0: H_HSI_HZ, 3: vco / (bits(r[H_PLL1DIVR], 9, 7) + 1)}[bits(r.get(H_CFGR, 0), 3, 3)]
    core = system / H_AHB_DIVIDERS[bits(d1, 8, 4)]
    axi = core / H_AHB_DIVIDERS[bits(d1, 0, 4)]
    apb1 = axi / H_APB_DIVIDERS[bits(d2, 4, 3)]
    return Clocks(core, axi, apb1, axi if bits(d2, 4, 3) in (0, 4) else 2 * apb1)


def h_check(r: Registers, c: Clocks) -> None:
    level_1 = bits(r[H_D3CR], 14, 2) == 3 and bits(r[H_CR3], 0, 3) == 2
    level_0 = level_1 and bits(r.get(H_PWRCR, 0), 0, 1) == 1
    limit_hz = 480e6 if level_0 else 400e6 if level_1 else 200e6
    uses_a_peripheral_bus = r.get(H_APB1LENR, 0) or r.get(H_APB4ENR, 0)
    allow(c.core <= limit_hz and c.flash <= limit_hz / 2, f"{c.core / 1e6} MHz at this supply level")
    allow(c.flash <= H_FLASH_HZ[min(bits(r[H_ACR], 0, 4), 4)], "too few wait states")
    d1, d2, d3 = (r.get(register, 0) for register in (H_D1CFGR, H_D2CFGR, H_D3CFGR))
    for field in (bits(d1, 4, 3), bits(d2, 4, 3), bits(d2, 8, 3), bits(d3, 4, 3)):
        allow(not uses_a_peripheral_bus or c.flash / H_APB_DIVIDERS[field] <= limit_hz / 4, "an APB is too fast")
    if bits(r[H_CR], 24, 1):
        allow(bits(r[H_PLLCKSELR], 0, 2) == 2 and 2e6 <= 8e6 / bits(r[H_PLLCKSELR], 4, 6) <= 4e6, "PLL input")
        allow(bits(r[H_PLLCFGR], 1, 3) == 0b010, "wide VCO and input range of 2 to 4 MHz")
        allow(bits(r[H_PLLCFGR], 16, 1) == 1, "output P of the PLL is off")


def h_chip(board: Board, revision: int = REVISION_V) -> Chip:
    return Chip(
        cpu=M7,
        reset={
            **{H_CR: 0x83, H_PLLCKSELR: 0x02020200, H_PLLCFGR: 0x01FF0000, H_PLL1DIVR: 0x01010280, H_ACR: 0x37},
            **{H_CR3: 6, H_D3CR: 0x4000, H_IDC: revision << 16 | 0x450, **identification(16, data_cache_sets=128)},
            **analog_pins(0x58020000),
        },
        flags=(
            Flag("supply", (H_CR3, 0b010), (H_CSR1, 1 << 13)),
            Flag("supply level", (H_D3CR, 1 << 14), (H_D3CR, 1 << 13)),
            Flag("HSE", (H_CR, 1 << 16), (H_CR, 1 << 17)),
            Flag("PLL", (H_CR, 1 << 24), (H_CR, 1 << 25), "HSE"),
        ),
        switch=Switch(H_CFGR, 3, {0: "", 2: "HSE", 3: "PLL"}),
        gates=(
            *gpio_gates(0x58020000, H_AHB4ENR),
            gate(0x40004800, H_APB1LENR, 18),
            gate(0x58000400, H_APB4ENR, 1),
        ),
        uart=Uart(0x40004800, 2),
        clocks=h_clocks,
        check=h_check,
    )


# STM32L4: RM0351. STM32L4+: RM0432.
L_CR, L_CFGR, L_PLLCFGR, L_AHB2ENR, L_APB1ENR1, L_APB1ENR2, L_APB2ENR = (
    0x40021000 + o for o in (0, 8, 0xC, 0x4C, 0x58, 0x5C, 0x60)
)
L_ACR, L_PWR_CR2, L_PWR_CR5 = 0x40022000, 0x40007004, 0x40007080
L_MSI_HZ = {6: 4e6, 7: 8e6, 8: 16e6, 9: 24e6, 10: 32e6, 11: 48e6}


def l_clocks(r: Registers) -> Clocks:
    cfgr, pll = r.get(L_CFGR, 0), r[L_PLLCFGR]
    msi = L_MSI_HZ[bits(r[L_CR], 4, 4)] if bits(r[L_CR], 3, 1) else 4e6
    source = {0: 0.0, 1: msi, 2: HSI_HZ}[bits(pll, 0, 2)]
    vco = source / (bits(pll, 4, 4) + 1) * bits(pll, 8, 7)
    system = {0: msi, 1: HSI_HZ, 3: vco / (2 * bits(pll, 25, 2) + 2)}[bits(cfgr, 2, 2)]
    core = system / {0: 1, 8: 2}[bits(cfgr, 4, 4)]
    apb1 = core / {0: 1, 4: 2}[bits(cfgr, 8, 3)]
    apb2 = core / {0: 1, 4: 2}[bits(cfgr, 11, 3)]
    assert apb1 == apb2, "one frequency for USART1 and LPUART1"
    return Clocks(core, core, apb1, apb1 if apb1 == core else 2 * apb1)


def l_check(is_plus: bool) -> Callable[[Registers, Clocks], None]:
    def check(r: Registers, c: Clocks) -> None:
        is_boosted = is_plus and not bits(r[L_PWR_CR5], 8, 1)
        allow(c.core <= (120e6 if is_boosted else 80e6), f"{c.core / 1e6} MHz without boost")
        allow(bits(r[L_ACR], 0, 4) >= (c.flash - 1) // (20e6 if is_plus else 16e6), "too few wait states")
        if bits(r.get(L_CFGR, 0), 2, 2) == 3:
            allow(bits(r[L_PLLCFGR], 24, 1) == 1, "output R of the PLL is off")

    return check


def l_chip(is_plus: bool) -> Callable[[Board], Chip]:
    def make(board: Board) -> Chip:
        return Chip(
            cpu=M4,
            reset={
                **{L_CR: 0x63, L_PLLCFGR: 0x1000, L_ACR: 0x600, L_PWR_CR5: 0x100, **identification(8)},
                **analog_pins(0x48000000),
            },
            flags=(
                Flag("HSI", (L_CR, 1 << 8), (L_CR, 1 << 10)),
                Flag("PLL", (L_CR, 1 << 24), (L_CR, 1 << 25), "HSI"),
            ),
            switch=Switch(L_CFGR, 2, {0: "", 1: "HSI", 3: "PLL"}),
            gates=(
                *gpio_gates(0x48000000, L_AHB2ENR),
                gate(0x40007000, L_APB1ENR1, 28),
                gate(0x40008000, L_APB1ENR2, 0),
                gate(0x40013800, L_APB2ENR, 14),
            ),
            uart=Uart(0x40008000 if board.defines["STM32_UART"] == "LPUART1" else 0x40013800, 2),
            clocks=l_clocks,
            check=l_check(is_plus),
        )

    return make


# STM32G0: RM0444. STM32G4: RM0440. STM32WB: RM0434. They wake up as the STM32L4 does, or on HSI16.
@dataclass(frozen=True)
class Lg:
    """What tells one from another: places of registers and fields, limits."""

    cpu: int
    rcc: int
    enables: tuple[int, int, int]
    """Offsets in RCC of the clock enables of GPIO, APB1 and APB2."""
    uart: tuple[int, int, int]
    """Base address; index in `enables` and bit of its clock enable."""
    status: int
    """First bit of the status field of CFGR, as wide as the field below it."""
    sources: tuple[int, int]
    """Codes of HSI16 and of the PLL."""
    pll_r: tuple[int, int]
    """First bit and width of PLLR in PLLCFGR."""
    gpio: int
    acr: int
    most_hz: float
    wait_state_hz: float
    has_msi: bool = False
    has_boost: bool = False

    def clocks(self, r: Registers) -> Clocks:
        cfgr, pll = r.get(self.rcc + 8, 0), r[self.rcc + 0xC]
        first, width = self.pll_r
        code = bits(pll, first, width)
        vco = HSI_HZ / (bits(pll, 4, 4 if width == 2 else 3) + 1) * bits(pll, 8, 7)
        fast = vco / (2 * code + 2 if width == 2 else code + 1)
        awake = L_MSI_HZ[bits(r[self.rcc], 4, 4)] if self.has_msi else HSI_HZ
        selected = {0: awake, self.sources[0]: HSI_HZ, self.sources[1]: fast}[bits(cfgr, self.status, self.status)]
        core = selected / {0: 1, 8: 2}[bits(cfgr, 8 if self.status == 3 else 4, 4)]
        return Clocks(core, core, core, core)

    def check(self, r: Registers, c: Clocks) -> None:
        is_boosted = self.has_boost and not bits(r[L_PWR_CR5], 8, 1)
        allow(c.core <= (self.most_hz if is_boosted or not self.has_boost else 150e6), f"{c.core / 1e6} MHz")
        step = self.wait_state_hz if is_boosted or not self.has_boost else 30e6
        allow(bits(r[self.acr], 0, 3) >= (c.flash - 1) // step, "too few wait states")
        if bits(r.get(self.rcc + 8, 0), self.status, self.status) == self.sources[1]:
            allow(bits(r[self.rcc + 0xC], self.pll_r[0] - 1, 1) == 1, "output R of the PLL is off")
            radio = bits(r.get(self.rcc + 0x108, 0), 4, 4)
            allow(self.rcc != 0x58000000 or c.core / {0: 1, 8: 2}[radio] <= 32e6, "the radio's core is too fast")

    def chip(self, board: Board) -> Chip:
        gpio, apb1, apb2 = (self.rcc + offset for offset in self.enables)
        base, which, bit = self.uart
        part = "HSI" if self.has_msi else ""
        hsi = Flag("HSI", (self.rcc, 1 << 8), (self.rcc, 1 << 10))
        awake = {self.rcc: 0x63} if self.has_msi else {self.rcc: 0x500}
        return Chip(
            cpu=self.cpu,
            reset={
                **{**awake, self.rcc + 0xC: 0x1000, self.acr: 0x40600, L_PWR_CR5: 0x100},
                **{**identification(0 if self.cpu == M0 else 8), **analog_pins(self.gpio)},
            },
            flags=(hsi, Flag("PLL", (self.rcc, 1 << 24), (self.rcc, 1 << 25), "HSI")),
            switch=Switch(self.rcc + 8, self.status, {0: "", self.sources[0]: part, self.sources[1]: "PLL"}),
            gates=(
                *gpio_gates(self.gpio, gpio, ports=7),
                *((gate(0x40007000, apb1, 28),) if self.has_boost else ()),
                gate(base, (gpio, apb1, apb2)[which], bit),
            ),
            uart=Uart(base, 2),
            clocks=self.clocks,
            check=self.check,
        )


G0 = Lg(M0, 0x40021000, (0x34, 0x3C, 0x40), (0x40004400, 1, 17), 3, (0, 2), (29, 3), 0x50000000, 0x40022000, 64e6, 24e6)
G4 = Lg(
    *(M4, 0x40021000, (0x4C, 0x58, 0x60), (0x40004400, 1, 17), 2, (1, 3), (25, 2), 0x48000000, 0x40022000, 170e6, 34e6),
    has_boost=True,
)
WB = Lg(
    *(M4, 0x58000000, (0x4C, 0x58, 0x60), (0x40013800, 2, 14), 2, (1, 3), (29, 3), 0x48000000, 0x58004000, 64e6, 18e6),
    has_msi=True,
)


# STM32U5: RM0456.
U_CR, U_CFGR1, U_PLL1CFGR, U_PLL1DIVR, U_AHB2ENR1, U_AHB3ENR, U_APB2ENR = (
    0x46020C00 + offset for offset in (0, 0x1C, 0x28, 0x34, 0x8C, 0x94, 0xA4)
)
U_VOSR, U_ACR = 0x4602080C, 0x40022000


def u_clocks(r: Registers) -> Clocks:
    cfg, div = r.get(U_PLL1CFGR, 0), r[U_PLL1DIVR]
    vco = HSI_HZ / (bits(cfg, 8, 4) + 1) * (bits(div, 0, 9) + 1)
    core = {0: 4e6, 1: HSI_HZ, 3: vco / (bits(div, 24, 7) + 1)}[bits(r.get(U_CFGR1, 0), 2, 2)]
    return Clocks(core, core, core, core)


def u_check(r: Registers, c: Clocks) -> None:
    is_range_1, is_boosted = bits(r[U_VOSR], 16, 2) == 3, bits(r[U_VOSR], 14, 1) == 1
    allow(c.core <= (160e6 if is_range_1 and is_boosted else 25e6), f"{c.core / 1e6} MHz in this range")
    allow(bits(r[U_ACR], 0, 4) >= (c.flash - 1) // (32e6 if is_range_1 else 8e6), "too few wait states")
    if bits(r[U_VOSR], 18, 1):
        allow(bits(r.get(U_PLL1CFGR, 0), 0, 2) == 2, "the booster has no clock")
    if bits(r.get(U_CFGR1, 0), 2, 2) == 3:
        allow(bits(r[U_PLL1CFGR], 18, 1) == 1 and bits(r[U_PLL1CFGR], 2, 2) == 3, "output R or input range of the PLL")


def u_chip(board: Board) -> Chip:
    return Chip(
        cpu=M33,
        reset={
            **{U_CR: 0x35, U_PLL1DIVR: 0x01010280, U_VOSR: 0x8000, U_ACR: 1, **identification(8)},
            **analog_pins(0x42020000),
        },
        flags=(
            Flag("HSI", (U_CR, 1 << 8), (U_CR, 1 << 10)),
            Flag("range", (U_VOSR, 3 << 16), (U_VOSR, 1 << 15)),
            Flag("booster", (U_VOSR, 1 << 18), (U_VOSR, 1 << 14), "HSI"),
            Flag("PLL", (U_CR, 1 << 24), (U_CR, 1 << 25), "HSI"),
        ),
        switch=Switch(U_CFGR1, 2, {0: "", 1: "HSI", 3: "PLL"}),
        gates=(
            *gpio_gates(0x42020000, U_AHB2ENR1, ports=9),
            gate(0x46020800, U_AHB3ENR, 2),
            gate(0x40013800, U_APB2ENR, 14),
        ),
        uart=Uart(0x40013800, 2),
        clocks=u_clocks,
        check=u_check,
    )


CHIPS: dict[str, Callable[[Board], Chip]] = {
    "STM32F100RB": f1_chip(24e6, has_wait_states=False),
    "STM32F103C8": f1_chip(72e6),
    "STM32F103RB": f1_chip(72e6),
    "STM32F303K8": f3_chip,
    "STM32G071RB": G0.chip,
    "STM32G474RE": G4.chip,
    "STM32WB55RG": WB.chip,
    "STM32U575ZI": u_chip,
    "STM32F205RF": f_chip(M3, 120e6, 120e6, slowest_vco_hz=192e6, has_scales=False),
    "STM32F405RG": f_chip(M4, 168e6, 168e6),
    "STM32F446RE": f_chip(M4, 168e6, 180e6),
    "STM32F746NG": f_chip(M7, 180e6, 216e6, sets=32),
    "STM32F767ZI": f_chip(M7, 180e6, 216e6, sets=128),
    "STM32H743ZI": h_chip,
    "STM32L475VG": l_chip(is_plus=False),
    "STM32L4R5ZI": l_chip(is_plus=True),
}
"""By a board's `mcu`. Data caches: 4 KB of the STM32F746, 16 KB of STM32F767 and STM32H743, 4 ways of 32-byte lines."""
