# The checksum of the boot stage (boot.c), the last word of its 256 bytes: CRC-32 of the bytes before it as in the
# RP2040's datasheet (Bootrom, checksum): polynomial 0x04C11DB7, initial value 0xFFFFFFFF, most significant bit
# first, not inverted at the end. The project includes this file, which then has CMake run it as a script after linking.
if(NOT CMAKE_SCRIPT_MODE_FILE)
    add_custom_command(TARGET firmware POST_BUILD
        COMMAND ${CMAKE_OBJCOPY} -O binary --only-section=.boot firmware.elf boot.bin
        COMMAND ${CMAKE_COMMAND} -P ${CMAKE_CURRENT_LIST_FILE}
        COMMAND ${CMAKE_OBJCOPY} -I ihex -O binary boot_checksum.hex boot_checksum.bin
        COMMAND ${CMAKE_OBJCOPY} --update-section .boot_checksum=boot_checksum.bin firmware.elf
        BYPRODUCTS boot.bin boot_checksum.hex boot_checksum.bin)
    return()
endif()

file(READ boot.bin content HEX)
string(REGEX MATCHALL ".." bytes "${content}")
set(crc 0xFFFFFFFF)
foreach(byte IN LISTS bytes)
    math(EXPR crc "${crc} ^ (0x${byte} << 24)")
    foreach(bit RANGE 7)
        math(EXPR crc "((${crc} << 1) ^ ((${crc} >> 31) * 0x04C11DB7)) & 0xFFFFFFFF")
    endforeach()
endforeach()

# CMake cannot write zero bytes, hence Intel HEX: least significant byte first, the bytes of a record add up to 0.
set(record "")
set(sum 4)
foreach(shift 0 8 16 24)
    math(EXPR byte "${crc} >> ${shift} & 0xFF")
    math(EXPR sum "${sum} + ${byte}")
    list(APPEND record ${byte})
endforeach()
math(EXPR sum "-${sum} & 0xFF")
set(text ":04000000")
foreach(byte ${record} ${sum})
    math(EXPR byte "0x100 + ${byte}" OUTPUT_FORMAT HEXADECIMAL)
    string(SUBSTRING ${byte} 3 2 digits)
    string(APPEND text ${digits})
endforeach()
file(WRITE boot_checksum.hex "${text}\n:00000001FF\n")
