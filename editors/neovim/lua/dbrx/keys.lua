-- Keys: each does its work while a suggestion is visible and else what it did before.
local config = require('dbrx.config')
local suggestion = require('dbrx.suggestion')

local M = {}

local always = { complete = true } -- works without a suggestion too
local actions = {
    accept = suggestion.accept,
    accept_word = suggestion.accept_word,
    accept_line = suggestion.accept_line,
    dismiss = suggestion.dismiss,
    complete = suggestion.invoke,
}

local function raw(keys)
    return vim.api.nvim_replace_termcodes(keys, true, true, true)
end

-- The mapping of this key in a list of them, or nil. Keys have several spellings, raw bytes one.
local function find(list, key)
    for _, map in ipairs(list) do
        if raw(map.lhs) == raw(key) and not (map.desc or ''):find('^dbrx: ') then
            return map
        end
    end
end

-- A mapping that was there is called through a name of its own, with all its flags.
local function pass_on(key, map)
    if not map then
        return vim.api.nvim_feedkeys(raw(key), 'in', false)
    end
    local name = '<Plug>(dbrx-' .. key:gsub('[<>]', '_') .. ')'
    local rhs = (map.rhs or ''):gsub('<SID>', ('<SNR>%d_'):format(map.sid or 0))
    local options = {
        noremap = map.noremap == 1,
        expr = map.expr == 1,
        silent = map.silent == 1,
        script = map.script == 1 or nil,
        callback = map.callback,
        replace_keycodes = map.replace_keycodes == 1 or nil,
    }
    vim.api.nvim_set_keymap('i', name, rhs, options)
    vim.api.nvim_feedkeys(raw(name), 'im', false)
end

--- Maps the configured keys in a buffer.
function M.map(buffer)
    local before = vim.api.nvim_buf_get_keymap(buffer, 'i')
    for action, key in pairs(config.options.keys) do
        if key then
            local own = find(before, key)
            vim.keymap.set('i', key, function()
                local done = (always[action] or suggestion.is_visible()) and actions[action]()
                if not done then
                    -- looked up now: plugins that load late map late
                    pass_on(key, own or find(vim.api.nvim_get_keymap('i'), key))
                end
            end, { buffer = buffer, silent = true, desc = 'dbrx: ' .. action })
        end
    end
end

return M
