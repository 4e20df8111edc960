-- dbrx-ls for Neovim: what users call. The rest is in the modules named after their nouns.
local config = require('dbrx.config')
local keys = require('dbrx.keys')
local server = require('dbrx.server')
local suggestion = require('dbrx.suggestion')

local M = {}

local enabled = false

local function watch()
    local group = vim.api.nvim_create_augroup('dbrx', { clear = true })
    local function on(events, callback)
        vim.api.nvim_create_autocmd(events, { group = group, callback = callback })
    end
    on({ 'BufEnter', 'FileType', 'BufFilePost', 'BufWritePost' }, function(event)
        M.attach(event.buf)
    end)
    on('BufFilePre', function(event)
        server.detach(event.buf) -- for the server another name is another document
    end)
    on({ 'InsertEnter', 'TextChangedI', 'TextChangedP', 'CursorMovedI' }, suggestion.changed)
    on({ 'InsertLeave', 'BufLeave', 'WinLeave' }, suggestion.stop)
    on('ColorScheme', suggestion.define_highlight)
    on('VimLeavePre', server.stop)
    server.on_ready = suggestion.retry
    server.on_late = suggestion.late
end

--- Starts the plugin; see |dbrx-setup| for the options.
function M.setup(options)
    local problem = config.set(options)
    if problem then
        return server.report_off('setup: ' .. problem)
    end
    suggestion.define_highlight()
    M.enable()
end

function M.enable()
    enabled = true
    server.allow()
    watch()
    for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
        if vim.api.nvim_buf_is_loaded(buffer) then
            M.attach(buffer)
        end
    end
end

function M.disable()
    enabled = false
    suggestion.stop()
    pcall(vim.api.nvim_del_augroup_by_name, 'dbrx')
    server.stop()
end

function M.restart()
    suggestion.stop()
    server.stop()
    M.enable()
end

function M.attach(buffer)
    if enabled and config.wants(buffer) and server.attach(buffer) then
        keys.map(buffer)
    end
end

--- Whether a suggestion is on the screen: for mappings of your own.
M.is_visible = suggestion.is_visible
--- Each returns whether there was something to do.
M.accept = suggestion.accept
M.accept_word = suggestion.accept_word
M.accept_line = suggestion.accept_line
M.dismiss = suggestion.dismiss
--- Asks now, at once and with more patience than typing does.
M.complete = suggestion.invoke

--- The last status of the server: { state, reason, progress, model, endpoint, ... }.
function M.status()
    return server.status
end

--- A few words for 'statusline': "dbrx", "dbrx 40%", "dbrx off".
function M.statusline()
    return enabled and require('dbrx.report').short(server.status) or ''
end

function M.show_status()
    require('dbrx.report').show()
end

return M
