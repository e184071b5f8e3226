# The checksum of the boot stage (boot.c), the last word of the 256 bytes: CRC-32 of the bytes before it as the RP2040's
# datasheet has it (Bootrom, checksum): polynomial 0x04C11DB7, initial value 0xFFFFFFFF, most significant bit first,
# not inverted at the end. Included by the project it has CMake run this file as a script after linking.
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

# CMake writes no zero bytes: as Intel HEX, least significant byte first; the sum of a record's bytes is 0.
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
