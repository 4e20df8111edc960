# Editors: what is built and tried from here.

demo: setup
	+@$(MAKE) --no-print-directory build
	@BUILD=$(BUILD) $(NODE) tests/demo/demo.js

.PHONY: try-nvim vscode
try-nvim: setup
	+@$(MAKE) --no-print-directory build
	@DBRX_TRY_BUILD=$(abspath $(BUILD)) nvim --clean -u editors/neovim/try.lua README.md
