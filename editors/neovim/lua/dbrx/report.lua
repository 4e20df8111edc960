-- What the plugin says about itself: in the status line, in :DbrxStatus and in :checkhealth.
local config = require('dbrx.config')
local server = require('dbrx.server')

local M = {}

local short = {
    starting = 'dbrx ...',
    ready = 'dbrx',
    busy = 'dbrx *',
    degraded = 'dbrx !',
    off = 'dbrx off',
}

function M.short(status)
    if status.state == 'loading' then
        return ('dbrx %d%%'):format(math.floor(100 * (tonumber(status.progress) or 0)))
    end
    return short[status.state] or 'dbrx'
end

-- A field as text, nil and null as nothing.
local function field(status, name, format)
    local value = status[name]
    if value == nil or value == vim.NIL or value == '' then
        return nil
    end
    local ok, text = pcall(string.format, format, value)
    return ok and text or nil
end

--- The report's lines.
function M.lines()
    local status = server.status
    local cmd, problem = config.command()
    local buffer = vim.api.nvim_get_current_buf()
    local model = field(status, 'model', '  model: %s')
    if model and status.demo == true then
        model = model .. ' (a small demonstration model)'
    end
    local lines = {
        'dbrx-ls: ' .. status.state,
        field(status, 'reason', '  reason: %s') or false,
        model or false,
        field(status, 'endpoint', '  engine: %s') or false,
        status.tokens_per_s ~= 0 and field(status, 'tokens_per_s', '  speed: %.1f tokens/s') or false,
        field(status, 'cached_share', '  share of prompt tokens from the cache: %.2f') or false,
        '  server: ' .. (cmd and table.concat(cmd, ' ') or problem),
        '  this buffer: ' .. (server.client(buffer) and 'completed' or 'not completed'),
    }
    return vim.tbl_filter(function(line)
        return line
    end, lines)
end

function M.show()
    local text = table.concat(M.lines(), '\n')
    vim.api.nvim_echo({ { text } }, false, {})
end

return M
