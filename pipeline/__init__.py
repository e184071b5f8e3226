"""tritmcu: train robust ternary networks, pack them at 2 bits, measure them on the microcontroller."""

__version__ = "0.2.0"
