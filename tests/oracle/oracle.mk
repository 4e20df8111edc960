# llama.cpp's library as a second engine: headers from the npm package's bundle of its repository,
# libraries prebuilt in its platform package. Where either is missing the comparison is skipped.
LLAMA_PACKAGE   := $(NODE_MODULES)/node-llama-cpp
LLAMA_LIBRARIES := $(NODE_MODULES)/@node-llama-cpp/linux-x64/bins/linux-x64
LLAMA_BUNDLE    := $(LLAMA_PACKAGE)/llama/gitRelease.bundle
LLAMA_HEADERS   := $(BUILD)/oracle/llama.cpp
LLAMA_ORACLE    := $(if $(wildcard $(LLAMA_BUNDLE)),$(BUILD)/tools/llama_logits)

$(LLAMA_HEADERS)/include/llama.h: $(LLAMA_BUNDLE)
	@rm -rf $(LLAMA_HEADERS) && mkdir -p $(@D)
	@git clone --quiet --bare $< $(LLAMA_HEADERS)/repository
	@git --git-dir=$(LLAMA_HEADERS)/repository archive HEAD include ggml/include | tar -x -C $(LLAMA_HEADERS)
	@rm -rf $(LLAMA_HEADERS)/repository
	@touch $@

# The packages' libraries name one another without a path, hence the rpath.
$(BUILD)/tools/llama_logits: tests/oracle/llama_logits.c $(LLAMA_HEADERS)/include/llama.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE $(OPTIMISE) $(WARNINGS) -isystem $(LLAMA_HEADERS)/include \
	  -isystem $(LLAMA_HEADERS)/ggml/include -o $@ $< $(LLAMA_LIBRARIES)/libllama.v0.5.0.so \
	  $(LLAMA_LIBRARIES)/libggml.v0.5.0.so $(LLAMA_LIBRARIES)/libggml-base.so \
	  -Wl,-rpath,$(abspath $(LLAMA_LIBRARIES)) -Wl,-rpath-link,$(LLAMA_LIBRARIES)

tools: $(LLAMA_ORACLE)
