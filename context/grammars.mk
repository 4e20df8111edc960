# tree-sitter's core and grammars: npm packages of context/grammars/, compiled into the library.
# Third-party sources: their warnings are not ours. -O1 halves the time the generated tables take.

GRAMMAR_DIR  := $(firstword $(wildcard $(BUILD)/npm/grammars build/npm/grammars) \
                $(BUILD)/npm/grammars)/node_modules
TREE_SITTER  := $(GRAMMAR_DIR)/tree-sitter/vendor/tree-sitter/lib
GRAMMAR_OBJECTS := $(BUILD)/grammars/core.o
GRAMMAR_COMPILE  = $(CC) -std=c11 -w -fPIC -D_GNU_SOURCE -c

# $(1) name, $(2) folder of the grammar in node_modules, $(3) its sources: parser, perhaps scanner.
define grammar
GRAMMAR_OBJECTS += $(3:%=$(BUILD)/grammars/$(1)_%.o)
$(3:%=$(BUILD)/grammars/$(1)_%.o): $(BUILD)/grammars/$(1)_%.o: $(GRAMMAR_DIR)/$(2)/src/%.c
	@mkdir -p $$(@D)
	@echo "cc $$<"
	$$(Q)$$(GRAMMAR_COMPILE) -O1 -I$(GRAMMAR_DIR)/$(2)/src -o $$@ $$<
endef

$(eval $(call grammar,bash,tree-sitter-bash,parser scanner))
$(eval $(call grammar,c,tree-sitter-c,parser))
$(eval $(call grammar,cpp,tree-sitter-cpp,parser scanner))
$(eval $(call grammar,csharp,tree-sitter-c-sharp,parser scanner))
$(eval $(call grammar,css,tree-sitter-css,parser scanner))
$(eval $(call grammar,cuda,tree-sitter-cuda,parser scanner))
$(eval $(call grammar,go,tree-sitter-go,parser))
$(eval $(call grammar,html,tree-sitter-html,parser scanner))
$(eval $(call grammar,java,tree-sitter-java,parser))
$(eval $(call grammar,javascript,tree-sitter-javascript,parser scanner))
$(eval $(call grammar,json,tree-sitter-json,parser))
$(eval $(call grammar,lua,@tree-sitter-grammars/tree-sitter-lua,parser scanner))
$(eval $(call grammar,markdown,@tree-sitter-grammars/tree-sitter-markdown/tree-sitter-markdown,parser scanner))
$(eval $(call grammar,php,tree-sitter-php/php,parser scanner))
$(eval $(call grammar,python,tree-sitter-python,parser scanner))
$(eval $(call grammar,ruby,tree-sitter-ruby,parser scanner))
$(eval $(call grammar,rust,tree-sitter-rust,parser scanner))
$(eval $(call grammar,toml,@tree-sitter-grammars/tree-sitter-toml,parser scanner))
$(eval $(call grammar,tsx,tree-sitter-typescript/tsx,parser scanner))
$(eval $(call grammar,typescript,tree-sitter-typescript/typescript,parser scanner))
$(eval $(call grammar,yaml,@tree-sitter-grammars/tree-sitter-yaml,parser scanner))

$(BUILD)/grammars/core.o: $(TREE_SITTER)/src/lib.c
	@mkdir -p $(@D)
	@echo "cc $<"
	$(Q)$(GRAMMAR_COMPILE) -O2 -I$(TREE_SITTER)/include -I$(TREE_SITTER)/src -o $@ $<

# Reached only when a file of the packages does not exist.
$(GRAMMAR_DIR)/%:
	@echo "$@ is missing: run make setup" >&2; exit 1

# Only these files see tree-sitter.
TREE_SITTER_USERS := context/syntax.c context/syntax_brackets.c context/syntax_item.c \
                     context/syntax_live.c context/syntax_names.c context/tags.c
TREE_SITTER_OBJECTS := $(TREE_SITTER_USERS:%.c=$(BUILD)/obj/%.o)
$(TREE_SITTER_OBJECTS): PACKAGE_FLAGS += -isystem $(TREE_SITTER)/include
$(TREE_SITTER_OBJECTS): $(TREE_SITTER)/include/tree_sitter/api.h

# What .incbin reads is no dependency the compiler reports.
$(BUILD)/obj/context/tag_queries.o: $(wildcard context/queries/*.scm)
