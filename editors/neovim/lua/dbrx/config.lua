-- Options of setup(), checked once, and the question which buffers are completed.
local M = {}

local defaults = {
    cmd = nil, -- list; nil: dbrx-ls beside this plugin, else in PATH
    model = nil, -- a model directory for the local engine
    endpoint = nil, -- "http://HOST:PORT", "https://...", "unix:/PATH"
    ca_file = nil, -- PEM file: certificates to trust for an https endpoint
    api_key = nil, -- text, or a function that returns it
    filetypes = { ['*'] = true }, -- by name; '*' for those not named
    debounce_ms = 75, -- rest after a key before a completion is asked for
    automatic = true, -- false: only on the `complete` key
    keys = {
        accept = '<Tab>',
        dismiss = '<C-]>',
        accept_word = false,
        accept_line = false,
        complete = false,
    },
}

local types = {
    cmd = 'table',
    model = 'string',
    endpoint = 'string',
    ca_file = 'string',
    api_key = { string = true, ['function'] = true },
    filetypes = 'table',
    debounce_ms = 'number',
    automatic = 'boolean',
    keys = 'table',
}

M.options = vim.deepcopy(defaults)

local function check(options)
    for name, value in pairs(options) do
        local wanted = types[name]
        if not wanted then
            return ('unknown option "%s"'):format(tostring(name))
        end
        local fits = type(wanted) == 'table' and wanted[type(value)] or wanted == type(value)
        if not fits then
            return ('option "%s" is a %s'):format(name, type(value))
        end
    end
    for name in pairs(options.keys or {}) do
        if defaults.keys[name] == nil then
            return ('unknown key "%s"'):format(tostring(name))
        end
    end
    if options.debounce_ms and (options.debounce_ms < 0 or options.debounce_ms > 10000) then
        return 'debounce_ms: expected 0 to 10000'
    end
end

--- Returns what is wrong with the options, or nil.
function M.set(options)
    options = options or {}
    local problem = check(options)
    if problem then
        return problem
    end
    M.options = vim.tbl_deep_extend('force', vim.deepcopy(defaults), options)
end

local bytes_max = 16 * 1024 * 1024 -- the server does no work on larger documents

--- Why the buffer is no file that may be completed, or nil.
function M.refusal(buffer)
    local option = vim.bo[buffer]
    if option.buftype ~= '' then
        return 'it is no file'
    end
    if vim.api.nvim_buf_get_name(buffer) == '' then
        return 'it has no name yet'
    end
    local filetypes = M.options.filetypes
    local wanted = filetypes[option.filetype]
    if wanted == nil then
        wanted = vim.tbl_contains(filetypes, option.filetype) or filetypes['*'] or false
    end
    if not wanted then
        return 'not wanted for this filetype'
    end
    local n_lines = vim.api.nvim_buf_line_count(buffer)
    if vim.api.nvim_buf_get_offset(buffer, n_lines) > bytes_max then
        return 'it is larger than 16 MiB'
    end
end

function M.wants(buffer)
    return M.refusal(buffer) == nil
end

--- The command that starts the server, or nil and what was looked for.
function M.command()
    if M.options.cmd then
        return M.options.cmd
    end
    local here = vim.fn.resolve(debug.getinfo(1, 'S').source:sub(2))
    local plugin = vim.fn.fnamemodify(here, ':h:h:h')
    -- in a checkout, and as `make install` lays it out
    for _, place in ipairs({ '/../../build/dbrx-ls', '/../../../bin/dbrx-ls' }) do
        local path = vim.fn.simplify(plugin .. place)
        if vim.fn.executable(path) == 1 then
            return { path }
        end
    end
    if vim.fn.executable('dbrx-ls') == 1 then
        return { 'dbrx-ls' }
    end
    return nil, 'dbrx-ls is not in PATH; build it or set cmd'
end

return M
