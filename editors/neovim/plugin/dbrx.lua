-- Commands only: nothing starts before require('dbrx').setup() was called.
if vim.g.loaded_dbrx or vim.fn.has('nvim-0.7') == 0 then
    return
end
vim.g.loaded_dbrx = true

local function command(name, method, description)
    vim.api.nvim_create_user_command(name, function()
        require('dbrx')[method]()
    end, { desc = description })
end

command('DbrxEnable', 'enable', 'Show completions of dbrx-ls')
command('DbrxDisable', 'disable', 'Show no completions of dbrx-ls, end its server')
command('DbrxRestart', 'restart', 'Start the language server anew')
command('DbrxStatus', 'show_status', 'What dbrx-ls is doing, and why it is not')
