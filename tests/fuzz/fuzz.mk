# Fuzz targets, tests/fuzz/fuzz_*.c, for clang's libFuzzer. tests/all/fuzz.sh builds and runs them;
# the library must have been compiled with the same SANITIZE.

FUZZ_SOURCES := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_TARGETS := $(FUZZ_SOURCES:tests/fuzz/%.c=$(BUILD)/fuzz/%)

$(BUILD)/fuzz/%: tests/fuzz/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo "cc $<"
	$(Q)$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer -MMD -MP -o $@ $< $(LIBRARY) $(LIBS)

-include $(FUZZ_TARGETS:=.d)

.PHONY: fuzz
fuzz: $(FUZZ_TARGETS)
