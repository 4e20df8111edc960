-- The language server's life: one client per project folder, started on the first buffer, started
-- again with growing pauses when it dies. What differs between Neovim 0.7 and 0.12 is here.
local config = require('dbrx.config')

local M = {
    status = { state = 'off', reason = 'not started' },
    on_ready = function() end, -- the engine can be used from now on
    on_late = function() end, -- with a uri: what was not there in time can be had now
}

local is_0_11 = vim.fn.has('nvim-0.11') == 1
local restarts_max = 5
local clients = {} -- folder -> client id
local attached = {} -- buffer -> client id
local deaths = {} -- folder -> how often it died in a row
local stopping = false
local told = {} -- reasons that were shown

-- One line in the message area, once per reason, never an error.
local function tell(text)
    if told[text] or #vim.api.nvim_list_uis() == 0 then
        return
    end
    told[text] = true
    local line = text:gsub('%c', ' ')
    local width = math.max(20, vim.o.columns - 15) -- longer would ask to press a key
    vim.api.nvim_echo({ { vim.fn.strcharpart(line, 0, width) } }, false, {})
end

local usable = { ready = true, busy = true, degraded = true }

local function set_status(status)
    local is_news = usable[status.state] and not usable[M.status.state]
    M.status = status
    local reason = status.reason or ''
    if (status.state == 'off' or status.state == 'degraded') and reason ~= '' then
        tell(('dbrx-ls %s: %s'):format(status.state, reason))
    end
    pcall(vim.api.nvim_exec_autocmds, 'User', { pattern = 'DbrxStatus', modeline = false })
    vim.cmd('redrawstatus')
    if is_news then
        M.on_ready()
    end
end

function M.report_off(reason)
    set_status({ state = 'off', reason = reason })
end

local function folder_of(buffer)
    local directory = vim.fn.fnamemodify(vim.api.nvim_buf_get_name(buffer), ':p:h')
    local up = vim.fn.escape(directory, ' ,;*?[') .. ';'
    local git = vim.fn.finddir('.git', up)
    if git == '' then
        git = vim.fn.findfile('.git', up) -- a worktree has a file
    end
    if git == '' then
        return directory
    end
    return (vim.fn.fnamemodify(git, ':p'):gsub('/+$', ''):gsub('/%.git$', ''))
end

-- The key travels in the environment: messages may be logged.
local function environment()
    local key = config.options.api_key
    if type(key) == 'function' then
        key = key()
    end
    return { DBRX_API_KEY = key }
end

local function capabilities()
    local all = vim.lsp.protocol.make_client_capabilities()
    -- Declared whatever the version: the plugin shows these itself, and a server that sees them
    -- offers no popup items in their place.
    all.textDocument.inlineCompletion = { dynamicRegistration = false }
    all.window = vim.tbl_extend('force', all.window or {}, { workDoneProgress = true })
    return all
end

local start -- below: on_exit and start need each other

local function on_exit(folder, code, signal)
    local id = clients[folder]
    clients[folder] = nil
    local buffers = {}
    for buffer, client in pairs(attached) do
        if client == id then
            attached[buffer] = nil
            table.insert(buffers, buffer)
        end
    end
    if stopping then
        return
    end
    deaths[folder] = (deaths[folder] or 0) + 1
    local why = signal ~= 0 and ('signal ' .. signal) or ('exit code ' .. code)
    if deaths[folder] > restarts_max then
        local words = 'the server ended %d times (%s); :DbrxRestart tries again'
        return M.report_off(words:format(deaths[folder], why))
    end
    local reason = ('the server ended (%s), starting it again'):format(why)
    set_status({ state = 'starting', reason = reason })
    vim.defer_fn(function()
        for _, buffer in ipairs(buffers) do
            if not stopping and vim.api.nvim_buf_is_loaded(buffer) then
                M.attach(buffer)
            end
        end
    end, 500 * 2 ^ deaths[folder])
end

local function handlers(folder)
    return {
        ['$/progress'] = function(err, params, context, config_of_handler)
            require('dbrx.action').progress(params, context.client_id)
            local usual = vim.lsp.handlers['$/progress'] -- others show it, too
            if usual then
                return usual(err, params, context, config_of_handler)
            end
        end,
        ['dbrx/document'] = function(_, document)
            require('dbrx.action').show(document)
        end,
        ['dbrx/late'] = function(_, late)
            local document = type(late) == 'table' and late.textDocument
            if type(document) == 'table' then
                M.on_late(document.uri)
            end
        end,
        ['dbrx/status'] = function(_, status)
            if type(status) == 'table' and type(status.state) == 'string' then
                if status.state == 'ready' then
                    deaths[folder] = 0
                end
                set_status(status)
            end
        end,
    }
end

local function settings()
    local options = config.options
    return {
        dbrx = {
            status = true,
            documents = true, -- explanations: lua/dbrx/action.lua shows them
            instructions = true,
            late = true,
            model = options.model,
            endpoint = options.endpoint,
            caFile = options.ca_file,
        },
    }
end

local function configuration(folder, cmd)
    return {
        name = 'dbrx-ls',
        cmd = cmd,
        cmd_env = environment(),
        root_dir = folder,
        workspace_folders = { { uri = vim.uri_from_fname(folder), name = folder } },
        capabilities = capabilities(),
        init_options = settings(),
        flags = { debounce_text_changes = 0 }, -- the server must see every key
        handlers = handlers(folder),
        on_exit = function(code, signal)
            vim.schedule(function()
                on_exit(folder, code, signal)
            end)
        end,
        on_init = function(client)
            -- Two ghost texts would be one too many.
            local builtin = vim.lsp.inline_completion
            if builtin then
                pcall(builtin.enable, false, { client_id = client.id })
            end
        end,
    }
end

start = function(folder)
    local cmd, problem = config.command()
    if not cmd then
        return M.report_off(problem)
    end
    if vim.fn.executable(cmd[1]) == 0 then
        return M.report_off(('cannot run "%s"'):format(cmd[1]))
    end
    set_status({ state = 'starting', reason = '' })
    require('dbrx.action').register()
    local options = configuration(folder, cmd)
    local ok, id
    if is_0_11 then
        ok, id = pcall(vim.lsp.start, options, { attach = false, silent = true })
    else
        ok, id = pcall(vim.lsp.start_client, options)
    end
    if not ok or not id then
        return M.report_off(('cannot start "%s"'):format(cmd[1]))
    end
    clients[folder] = id
    return id
end

function M.allow()
    stopping = false
    deaths = {}
end

--- Makes the buffer known to its folder's server, started when needed. True when it newly is.
function M.attach(buffer)
    if attached[buffer] and vim.lsp.get_client_by_id(attached[buffer]) then
        return false
    end
    local folder = folder_of(buffer)
    local id = clients[folder]
    if not id and (deaths[folder] or 0) <= restarts_max then
        id = start(folder)
    end
    if not id or not vim.lsp.buf_attach_client(buffer, id) then
        return false
    end
    attached[buffer] = id
    vim.api.nvim_buf_attach(buffer, false, {
        on_detach = function()
            attached[buffer] = nil
        end,
    })
    return true
end

--- The buffer's server closes it.
function M.detach(buffer)
    local id = attached[buffer]
    attached[buffer] = nil
    if id then
        pcall(vim.lsp.buf_detach_client, buffer, id)
    end
end

function M.stop()
    stopping = true
    for _, id in pairs(clients) do
        pcall(vim.lsp.stop_client, id)
    end
    clients, attached = {}, {}
    M.status = { state = 'off', reason = 'disabled' }
end

--- The buffer's client, or nil before it is initialized.
function M.client(buffer)
    local client = attached[buffer] and vim.lsp.get_client_by_id(attached[buffer])
    return client and client.initialized and client or nil
end

--- A buffer whose server can be asked, for what belongs to none.
function M.any_buffer()
    for buffer in pairs(attached) do
        if M.client(buffer) then
            return buffer
        end
    end
end

function M.notify(client, method, params)
    if is_0_11 then
        pcall(client.notify, client, method, params)
    else
        pcall(client.notify, method, params)
    end
end

--- Sends a request; `answered(err, result)` comes at most once. Returns a function that cancels it,
--- or nil when it could not be sent.
function M.request(client, method, params, buffer, answered)
    local function handler(err, result)
        answered(err, result)
    end
    local ok, sent, id
    if is_0_11 then
        ok, sent, id = pcall(client.request, client, method, params, handler, buffer)
    else
        ok, sent, id = pcall(client.request, method, params, handler, buffer)
    end
    if not ok or not sent then
        return nil
    end
    return function()
        if is_0_11 then
            pcall(client.cancel_request, client, id)
        else
            pcall(client.cancel_request, id)
        end
    end
end

return M
