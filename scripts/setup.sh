#!/usr/bin/env bash
# Installs what the other make targets need on Debian or Ubuntu: system packages, then .venv.
# Safe to repeat; does nothing when both are in place. PYTHON=... chooses the interpreter (3.11 to 3.13).
#   setup.sh          what `make run` needs
#   setup.sh tests    also the programs without which some tests are skipped; failing to install these is not an error
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

# One line per requirement: a program, or after "=" a file, that shows it is installed; then the Debian packages with it.
needed() {
    cat <<'TABLE'
arm-none-eabi-gcc      gcc-arm-none-eabi
=newlib                libnewlib-arm-none-eabi
qemu-system-arm        qemu-system-arm
cmake                  cmake
ninja                  ninja-build
gcc                    gcc libc6-dev
git                    git
TABLE
}

needed_by_tests() {
    cat <<'TABLE'
gdb-multiarch          gdb-multiarch
avr-gcc                gcc-avr avr-libc
=/usr/share/arduino/hardware/arduino/avr/cores   arduino-core-avr
simavr                 simavr
qemu-system-avr        qemu-system-misc
arduino-builder        arduino-builder
=/usr/include/simavr   libsimavr-dev
openocd                openocd
st-flash               stlink-tools
stm32flash             stm32flash
dfu-util               dfu-util
bossac                 bossa-cli
avrdude                avrdude
clang                  clang
ccache                 ccache
=libfuzzer             libclang-rt-dev # a package of its own from clang 14.0.6 on; in Ubuntu 22.04 clang itself brings it
TABLE
}

present() {
    case "$1" in
    =newlib) [[ -f "$(arm-none-eabi-gcc -print-file-name=libc.a 2>/dev/null)" ]] ;;
    =libfuzzer) compgen -G "$(clang -print-resource-dir 2>/dev/null)/lib/*/libclang_rt.fuzzer*" >/dev/null ;;
    =*) [[ -e "${1#=}" ]] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

missing() { # packages in the table on standard input whose program or file is absent
    local proof packages
    while read -r proof packages; do
        present "$proof" || echo "${packages%%#*}"
    done
}

suitable() { # is $1 a Python 3.11 to 3.13 that can create virtual environments?
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.11 python3.12 python3.13; do
        if suitable "$candidate"; then echo "$candidate"; return; fi
    done
}

install_packages() {
    local packages=("$@") sudo=()
    command -v apt-get >/dev/null || fail "needs ${packages[*]} (Debian names); install them and run again"
    if [[ $EUID -ne 0 ]]; then
        command -v sudo >/dev/null || fail "run as root: apt-get install ${packages[*]}"
        sudo=(sudo)
    fi
    local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
    say "installing ${packages[*]}"
    "${apt[@]}" update >&2 || return
    local package known=() unknown=()
    for package in "${packages[@]}"; do
        if offered "$package"; then known+=("$package"); else unknown+=("$package"); fi
    done
    if ((${#known[@]})); then "${apt[@]}" install -y --no-install-recommends "${known[@]}" >&2 || return; fi
    if ((${#unknown[@]})); then say "this release has no package ${unknown[*]}"; return 1; fi
}

# Is there a package of that name? For the sake of one that is not, apt-get would install none of the others.
offered() { [[ "$(LC_ALL=C apt-cache policy "$1" 2>/dev/null)" == *Candidate:\ [!\(]* ]]; }

system_packages() {
    local packages
    packages=$(needed | missing)
    [[ -x .venv/bin/python || -n "$(find_python)" ]] || packages+=" python3 python3-venv"
    if [[ -n $packages ]]; then install_packages $packages; fi
}

test_packages() {
    local packages
    packages=$(needed_by_tests | missing)
    if [[ -n $packages ]]; then
        (install_packages $packages) || true
        packages=$(needed_by_tests | missing)
        [[ -z $packages ]] || say "some tests will be skipped without:" $packages
    fi
}

virtual_environment() {
    local stamp=.venv/setup.sha256 wanted python
    wanted=$(cat pyproject.toml constraints.txt <(pwd) | sha256sum)
    if [[ -x .venv/bin/tritmcu && -f $stamp && "$(<"$stamp")" == "$wanted" ]]; then return; fi
    if [[ ! -x .venv/bin/python ]] || ! suitable .venv/bin/python; then
        python=$(find_python)
        [[ -n $python ]] || fail "needs Python 3.11, 3.12 or 3.13 with venv; name one: make setup PYTHON=/path/to/python3"
        say "creating .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
    say "installing the Python packages of constraints.txt into .venv (about 2.5 GB; a few minutes the first time)"
    # Without bytecode: Python writes it for what it imports, a small part of all this.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
        -c constraints.txt -e '.[train,jax,attack,tflite,flash,dev,docs]' >&2
    echo "$wanted" >"$stamp"
}

system_packages
if [[ ${1:-} == tests ]]; then test_packages; fi
virtual_environment
