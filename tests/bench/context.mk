# What the model reads, measured: make bench-context REPOS="../a ../b" CONTEXT="--positions 50".
$(BUILD)/tools/context_ask: tests/bench/context_ask.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo "cc $<"
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -o $@ $< $(LIBRARY) $(LIBS)

-include $(BUILD)/tools/context_ask.d

.PHONY: bench-context
bench-context: $(BUILD)/tools/context_ask
	@sh tests/setup.sh $(BUILD) --bench
	@python3 tests/bench/context.py --build $(BUILD) $(CONTEXT) $(REPOS)
