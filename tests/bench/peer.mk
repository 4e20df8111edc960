# dbrx-ls beside llama.cpp: make bench-peer, or with PEER="--small --formats int4 --threads 1".
PEER_SOURCES := $(wildcard tests/bench/peer*.c)

$(BUILD)/tools/peer: $(PEER_SOURCES) tests/bench/peer.h $(LIBRARY) $(LLAMA_HEADERS)/include/llama.h
	@mkdir -p $(@D)
	@echo "cc tests/bench/peer*.c"
	$(Q)$(CC) $(CFLAGS_ALL) -isystem $(LLAMA_HEADERS)/include -isystem $(LLAMA_HEADERS)/ggml/include \
	  -o $@ $(PEER_SOURCES) $(LIBRARY) $(LIBS) $(LLAMA_LIBRARIES)/libllama.v0.5.0.so \
	  $(LLAMA_LIBRARIES)/libggml.v0.5.0.so $(LLAMA_LIBRARIES)/libggml-base.so \
	  -Wl,-rpath,$(abspath $(LLAMA_LIBRARIES)) -Wl,-rpath-link,$(LLAMA_LIBRARIES)

.PHONY: bench-peer
bench-peer: $(PROGRAM) $(BUILD)/tools/make_checkpoint $(BUILD)/tools/peer
	@python3 tests/bench/peer.py --build $(BUILD) --libraries $(LLAMA_LIBRARIES) $(PEER)
