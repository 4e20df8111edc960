# dbrx-ls. `make demo` and `make test` set up a fresh Debian bookworm by themselves; `make` only builds.
# Rooms bring their own rules in *.mk; every source is found by its place, so nothing is listed twice.

BUILD  ?= build
PREFIX ?= /usr/local
CC     ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
VERSION := 0.1.0

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
            -Wcast-qual -Wwrite-strings -Wvla -Wundef -Wformat=2 -Werror
OPTIMISE ?= -O2 -g
SANITIZE ?=
PACKAGES := jansson libgit2 libuv libcurl libmicrohttpd gnutls sqlite3
# Third-party headers are system headers: their warnings are not ours.
PACKAGE_FLAGS = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags $(PACKAGES) 2>/dev/null))
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE -DDBRX_VERSION='"$(VERSION)"' $(OPTIMISE) $(SANITIZE) $(WARNINGS) \
             -fno-math-errno -pthread -I. $(PACKAGE_FLAGS) $(CFLAGS)
LIBS = $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lm -pthread

ROOMS   := base tokenizer tokenizer/generated kernels kernels/reference kernels/cpu kernels/cuda inference \
           inference/bench inference/simulate inference/service context lsp/client lsp/assistant lsp/server lsp/cli
SOURCES := $(foreach room,$(ROOMS),$(wildcard $(room)/*.c))
ASSEMBLY := $(foreach room,$(ROOMS),$(wildcard $(room)/*.S))
OBJECTS := $(SOURCES:%.c=$(BUILD)/obj/%.o) $(ASSEMBLY:%.S=$(BUILD)/obj/%.o)
MAIN    := $(BUILD)/obj/lsp/cli/main.o
LIBRARY := $(BUILD)/libdbrx.a
PROGRAM := $(BUILD)/dbrx-ls

# Builds that follow a set-up use all cores without being told.
JOBS := -j$(shell nproc)

# V=1 shows whole commands.
Q := $(if $(V),,@)

.PHONY: all build setup demo test test-all check format install uninstall clean help
all: build

include kernels/cuda/cuda.mk
include context/grammars.mk
include tests/tests.mk
include inference/nano/nano.mk
include editors/editors.mk
include tests/check/check.mk

build: $(PROGRAM) $(MODEL)

$(PROGRAM): $(MAIN) $(LIBRARY)
	@echo "link $@"
	$(Q)$(CC) $(SANITIZE) -o $@ $(MAIN) $(LIBRARY) $(LIBS)

$(LIBRARY): $(filter-out $(MAIN),$(OBJECTS)) $(GRAMMAR_OBJECTS)
	@rm -f $@
	$(Q)ar qcs $@ $^

# A kernel file's name ends in the instruction set it is compiled for; it is chosen at run time.
AVX512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mfma -mf16c
isa_of = $(if $(filter %_avx2.c,$(1)),-mavx2 -mfma -mf16c)$(if $(filter %_avx512.c,$(1)),$(AVX512))$(if \
         $(filter %_avx512bf16.c,$(1)),$(AVX512) -mavx512bf16 -mavx512vbmi)
$(BUILD)/obj/kernels/cpu/%.o: OPTIMISE := -O3 -g -ffp-contract=off

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "cc $<"
	$(Q)$(CC) $(CFLAGS_ALL) $(call isa_of,$<) -MMD -MP -c -o $@ $<

$(BUILD)/obj/%.o: %.S
	@mkdir -p $(@D)
	$(Q)$(CC) -I. -MMD -MP -c -o $@ $<

# What .incbin reads is no dependency the compiler reports.
$(BUILD)/obj/tokenizer/embedded.o: tokenizer/data/cl100k.bin

-include $(OBJECTS:.o=.d)

setup:
	@sh tests/setup.sh $(BUILD)

# What is compiled into the program and is not ours: each with its licence, as the licences ask.
$(BUILD)/THIRD-PARTY: $(GRAMMAR_OBJECTS) Makefile
	@{ printf '== tiktoken cl100k_base ranks\n\n'; cat tokenizer/data/LICENSE; \
	  for d in $(GRAMMAR_DIR)/tree-sitter* $(GRAMMAR_DIR)/@tree-sitter-grammars/*; do \
	    printf '\n== %s\n\n' "$${d##*/}"; cat "$$d/LICENSE" 2>/dev/null || \
	    sed -n 's/.*"\(license\|author\)": *\(.*\)/\1: \2/p' "$$d/package.json"; done; } >$@

install: build $(BUILD)/THIRD-PARTY
	install -D -m 755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/dbrx-ls
	install -d $(DESTDIR)$(PREFIX)/share/dbrx-ls/model
	install -m 644 $(MODEL_DIR)/* $(DESTDIR)$(PREFIX)/share/dbrx-ls/model/
	install -d $(DESTDIR)$(PREFIX)/share/dbrx-ls/neovim
	cp -R editors/neovim/. $(DESTDIR)$(PREFIX)/share/dbrx-ls/neovim/
	install -D -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/dbrx-ls/LICENSE
	install -m 644 inference/service/OPERATING.md $(DESTDIR)$(PREFIX)/share/doc/dbrx-ls/
	install -d $(addprefix $(DESTDIR)$(PREFIX)/lib/,systemd/system sysusers.d tmpfiles.d)
	sed 's#@PREFIX@#$(PREFIX)#g' inference/service/systemd/dbrx-ls.service | \
	  install -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/dbrx-ls.service
	install -m 644 inference/service/systemd/dbrx-ls.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/
	install -m 644 inference/service/systemd/dbrx-ls.sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/dbrx-ls.conf
	install -m 644 inference/service/systemd/dbrx-ls.tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/dbrx-ls.conf
	install -m 644 $(BUILD)/THIRD-PARTY $(DESTDIR)$(PREFIX)/share/doc/dbrx-ls/

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/dbrx-ls
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/lib/,systemd/system/dbrx-ls.service systemd/system/dbrx-ls.socket \
	  sysusers.d/dbrx-ls.conf tmpfiles.d/dbrx-ls.conf)
	rm -rf $(DESTDIR)$(PREFIX)/share/dbrx-ls $(DESTDIR)$(PREFIX)/share/doc/dbrx-ls

clean:
	rm -rf $(BUILD)

help:
	@sed -n 's/^## //p' Makefile

## make            build build/dbrx-ls
## make demo       set up, build, and show the whole line on this repository
## make test       set up, build, run the tests (make test-all: editors, sanitizers, long runs)
## make check      style, includes, warnings under gcc and clang, clang-tidy, cppcheck
## make bench-peer  speed beside llama.cpp on the same random weights (16 GB of disk)
## make bench-nano the embedded model on projects it never saw (inference/nano/README.md first)
## make bench-sure SOURCES="..."  from which log-probability on a completion is worth showing
## make bench-stops SOURCES="..."  where answers of several lines stop, with the line below and without
## make bench-context REPOS="..."  recall of definitions at places of real commits, beside baselines
## make try-nvim   Neovim on this repository with the plugin
## make install    PREFIX=/usr/local DESTDIR=
