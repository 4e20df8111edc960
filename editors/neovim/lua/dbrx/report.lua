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

--- What is known of server and engine, a line each.
function M.lines()
    local status = server.status
    local cmd, problem = config.command()
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
    }
    return vim.tbl_filter(function(line)
        return line
    end, lines)
end

-- Of the buffer: whether it is completed, and why the last completion (dbrx/prompt) showed nothing.
local function buffer_lines(buffer, last)
    local why = config.refusal(buffer) or 'no server has it'
    local is_completed = server.client(buffer) ~= nil
    local lines = { '  this buffer: ' .. (is_completed and 'completed' or 'not completed, ' .. why) }
    local nothing = is_completed and type(last) == 'table' and field(last, 'nothing', '%s')
    if nothing and nothing ~= server.status.reason then
        table.insert(lines, '  nothing is shown: ' .. nothing)
    end
    return lines
end

--- Gives all lines to `done`, once; a server that does not answer is not waited for.
function M.read(done)
    local buffer = vim.api.nvim_get_current_buf()
    local is_done = false
    local function finish(last)
        if not is_done then
            is_done = true
            done(vim.list_extend(M.lines(), buffer_lines(buffer, last)))
        end
    end
    local client = server.client(buffer)
    local params = { textDocument = { uri = vim.uri_from_bufnr(buffer) } }
    local asked = client
        and server.request(client, 'dbrx/prompt', params, buffer, function(_, last)
            finish(last)
        end)
    if asked then
        vim.defer_fn(finish, 500)
    else
        finish()
    end
end

function M.show()
    M.read(function(lines)
        vim.api.nvim_echo({ { table.concat(lines, '\n') } }, false, {})
    end)
end

return M
