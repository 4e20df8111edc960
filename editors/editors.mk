# Editors: what is built and tried from here.

demo: setup
	+@$(MAKE) --no-print-directory $(JOBS) build
	@BUILD=$(BUILD) $(NODE) tests/demo/demo.js

.PHONY: try-nvim vscode
try-nvim: setup
	+@$(MAKE) --no-print-directory $(JOBS) build
	@DBRX_TRY_BUILD=$(abspath $(BUILD)) nvim --clean -u editors/neovim/try.lua base/utf.c

# The extension is built beside its npm packages; the result is one file anyone can install.
VSCODE_DIR := $(BUILD)/npm/vscode
VSCODE_NODE := $(abspath $(NODE))
vscode: setup
	@sh tests/setup.sh $(BUILD) --vscode
	@rm -rf $(VSCODE_DIR)/src $(VSCODE_DIR)/dist
	@cp -R $(addprefix editors/vscode/,src package.json tsconfig.json README.md) LICENSE $(VSCODE_DIR)/
	@cd $(VSCODE_DIR) && $(VSCODE_NODE) node_modules/typescript/bin/tsc --noEmit
	@cd $(VSCODE_DIR) && $(VSCODE_NODE) node_modules/esbuild/bin/esbuild src/extension.ts --bundle \
	  --platform=node --target=node20 --format=cjs --external:vscode --minify --log-level=warning \
	  --outfile=dist/extension.js
	@cd $(VSCODE_DIR) && $(VSCODE_NODE) node_modules/@vscode/vsce/vsce package \
	  --allow-missing-repository --no-dependencies -o $(abspath $(BUILD))/dbrx-ls-$(VERSION).vsix
