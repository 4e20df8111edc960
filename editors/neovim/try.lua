-- The whole configuration of `make try-nvim`: this checkout's plugin and nothing of the user's.
local here = vim.fn.fnamemodify(debug.getinfo(1, 'S').source:sub(2), ':p:h')

vim.opt.runtimepath:prepend(here)
vim.opt.swapfile = false
vim.opt.number = true
vim.opt.expandtab = true
vim.opt.shiftwidth = 4
vim.opt.laststatus = 2
vim.opt.showmode = false
vim.opt.statusline = " %f %m %= %{v:lua.require'dbrx'.statusline()}"
    .. '  <Tab> accepts  <C-]> hides  :DbrxStatus '
vim.cmd('filetype plugin indent on | syntax enable')

local build = vim.env.DBRX_TRY_BUILD
require('dbrx').setup({
    cmd = build and { build .. '/dbrx-ls' } or nil,
    keys = { accept_word = '<C-Right>', accept_line = '<C-Down>', complete = '<C-Space>' },
})
