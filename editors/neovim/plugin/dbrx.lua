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

vim.api.nvim_create_user_command('DbrxAct', function(arguments)
    local name = arguments.fargs[1]
    local words = table.concat(arguments.fargs, ' ', 2)
    local first = arguments.range > 0 and arguments.line1 or nil
    require('dbrx.action').run(name, first, arguments.line2, words)
end, {
    desc = 'Explain, refactor, fix, document or test the lines, or what stands at the cursor',
    nargs = '+',
    range = true,
    complete = function(lead)
        return vim.tbl_filter(function(name)
            return vim.startswith(name, lead)
        end, require('dbrx.action').names)
    end,
})

vim.api.nvim_create_user_command('DbrxCancel', function()
    require('dbrx.action').cancel()
end, { desc = 'End what dbrx-ls is doing, else close its explanation' })

vim.api.nvim_create_user_command('DbrxCommitMessage', function(arguments)
    require('dbrx.action').commit_message(arguments.bang)
end, { desc = 'A commit message for what is staged; with ! another one', bang = true })
