# make check: structure, format, warnings under gcc and clang, clang-tidy, cppcheck. Each is quick to
# run alone: make check-structure, check-format, check-gcc, check-clang, check-tidy, check-cppcheck.

CHECK_C       = $(shell git ls-files -co --exclude-standard '*.c' '*.h' | grep -v /generated/)
CHECK_SOURCES = $(SOURCES) $(wildcard tests/tools/*.c)
CHECK_CLANG  := $(BUILD)/check-clang

.PHONY: check check-structure check-format check-gcc check-clang check-tidy check-cppcheck

check:
	@sh tests/setup.sh $(BUILD) --check
	+@$(MAKE) --no-print-directory check-structure check-format
	+@$(MAKE) --no-print-directory $(JOBS) check-gcc
	+@$(MAKE) --no-print-directory $(JOBS) check-clang
	+@$(MAKE) --no-print-directory check-tidy check-cppcheck
	@echo "check: everything holds"

check-structure:
	@python3 tests/check/structure.py
	@python3 tests/mutations.py --check

check-format:
	@clang-format --dry-run -Werror $(CHECK_C) && echo "format: $(words $(CHECK_C)) files"

# Warnings are errors in every build; the program's own build is gcc's.
check-gcc: tests
	@echo "gcc: no warnings"
	@python3 tests/check/readme.py $(BUILD)

# clang only has to read the sources; nothing it would build is used. Objects of our rooms only.
check-clang: $(patsubst %.c,$(CHECK_CLANG)/%.ok,$(CHECK_SOURCES))
	@echo "clang: no warnings"

$(CHECK_CLANG)/%.ok: %.c
	@mkdir -p $(@D)
	@clang $(CFLAGS_ALL) $(call isa_of,$<) $(if $(filter $(TREE_SITTER_USERS),$<),-isystem $(TREE_SITTER)/include) \
	  -MMD -MP -MF $(@:.ok=.d) -MT $@ -fsyntax-only $< && touch $@

-include $(wildcard $(CHECK_CLANG)/*/*.d $(CHECK_CLANG)/*/*/*.d)

# One stamp per file, so that a second run only looks at what changed; which headers a file reads is
# known to check-clang.
check-tidy:
	+@$(MAKE) --no-print-directory $(JOBS) $(patsubst %.c,$(BUILD)/check-tidy/%.ok,$(SOURCES))
	@echo "clang-tidy: no findings"

$(BUILD)/check-tidy/%.ok: %.c .clang-tidy $(CHECK_CLANG)/%.ok
	@mkdir -p $(@D)
	@clang-tidy --quiet $< -- $(CFLAGS_ALL) $(call isa_of,$<) -isystem $(TREE_SITTER)/include \
	  >$(@:.ok=.log) 2>&1 && touch $@ || { cat $(@:.ok=.log); exit 1; }

# readdir on a stream of one's own is safe in any thread (POSIX.1-2024; in glibc always).
check-cppcheck:
	@cppcheck --quiet --std=c11 --language=c --enable=warning,portability,performance --inline-suppr \
	  --error-exitcode=1 --library=posix --library=gnu $(JOBS) -I. -D_GNU_SOURCE \
	  --suppress=missingIncludeSystem --suppress=readdirCalled --suppress=*:*/generated/* $(SOURCES)
	@echo "cppcheck: no findings"
