/* Constants of link and application lie in flash, which an AVR reads with instructions of its own (nn_flash.h). */
#ifndef FLASH_H
#define FLASH_H

#ifdef __AVR__
#define FLASH __flash
#else
#define FLASH
#endif

#endif
