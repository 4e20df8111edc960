# The embedded model: made by hand (README.md), measured here.

NANO_DIR    := inference/nano
MODEL_DIR   := $(BUILD)/model
MODEL       := $(MODEL_DIR)/config.json
NANO_PYTHON ?= $(BUILD)/nano/venv/bin/python
NANO_CORPUS ?= $(BUILD)/nano/corpus

# Beside the program it is the default when nothing is configured.
$(MODEL): $(wildcard $(NANO_DIR)/model/*)
	@rm -rf $(MODEL_DIR)
	@mkdir -p $(MODEL_DIR)
	@cp $^ $(MODEL_DIR)/
	@touch $@

.PHONY: nano-setup bench-nano bench-sure bench-stops
nano-setup:
	python3 -m venv $(BUILD)/nano/venv
	$(BUILD)/nano/venv/bin/pip install -r $(NANO_DIR)/requirements.txt

bench-nano: build
	$(NANO_PYTHON) $(NANO_DIR)/evaluate.py --corpus $(NANO_CORPUS) --program $(BUILD)/dbrx-ls

# SOURCES: folders of projects the model never saw.
bench-sure: build
	$(NANO_PYTHON) $(NANO_DIR)/sure.py --program $(BUILD)/dbrx-ls --model $(MODEL_DIR) $(SOURCES)
bench-stops: build
	$(NANO_PYTHON) $(NANO_DIR)/stops.py --program $(BUILD)/dbrx-ls --model $(MODEL_DIR) $(SOURCES)
