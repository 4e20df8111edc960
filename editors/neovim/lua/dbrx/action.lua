-- Actions by command, explanations in a window of their own, commit messages. What an action does is the
-- server's business; edits come back by the editor's own workspace/applyEdit.
local position = require('dbrx.position')
local server = require('dbrx.server')

local M = {}

M.names = {
    'explain', 'simplify', 'extract', 'rename', 'rewrite', 'fix', 'document', 'tests', 'translate',
}

local function tell(text)
    vim.api.nvim_echo({ { 'dbrx-ls: ' .. (text:gsub('%c', ' ')) } }, true, {})
end

-- Refusals belong to a command the user gave, so they are said; a cancelled one is not.
local cancelled = -32800

local function execute(buffer, command, argument, done)
    local client = server.client(buffer)
    if not client then
        return tell('the server is not ready; see :DbrxStatus')
    end
    local params = { command = 'dbrx-ls.' .. command, arguments = { argument } }
    server.request(client, 'workspace/executeCommand', params, buffer, function(err, result)
        if err and err.code ~= cancelled then
            tell(err.message or 'the action failed')
        elseif not err and done then
            done(result)
        end
    end)
end

local function diagnostics_of(buffer, first, last, encoding)
    local found = {}
    for _, d in ipairs(vim.diagnostic.get(buffer)) do
        if d.lnum >= first and d.lnum <= last then
            local function at(row, column)
                local line = vim.api.nvim_buf_get_lines(buffer, row, row + 1, false)[1] or ''
                return { line = row, character = position.to_units(line, column, encoding) }
            end
            local range = { start = at(d.lnum, d.col), ['end'] = at(d.end_lnum or d.lnum, d.end_col or d.col) }
            table.insert(found, { range = range, message = d.message, source = d.source })
        end
    end
    return found
end

-- Whole lines; without a range the cursor.
local function range_of(buffer, first, last, encoding)
    if first then
        local line = vim.api.nvim_buf_get_lines(buffer, last - 1, last, false)[1] or ''
        return {
            start = { line = first - 1, character = 0 },
            ['end'] = { line = last - 1, character = position.to_units(line, #line, encoding) },
        }
    end
    local cursor = vim.api.nvim_win_get_cursor(0)
    local line = vim.api.nvim_get_current_line()
    local at = { line = cursor[1] - 1, character = position.to_units(line, cursor[2], encoding) }
    return { start = at, ['end'] = at }
end

--- Runs an action on the lines first..last of the current buffer, or at the cursor. `words` are the
--- instruction of "rewrite"; without them they are asked for.
function M.run(name, first, last, words)
    local buffer = vim.api.nvim_get_current_buf()
    local client = server.client(buffer)
    local encoding = client and client.offset_encoding or 'utf-16'
    local range = range_of(buffer, first, last, encoding)
    local argument = { textDocument = { uri = vim.uri_from_bufnr(buffer) }, range = range }
    if name == 'rewrite' and (not words or words == '') then
        words = vim.fn.input('Change it how? ')
        if words == '' then
            return
        end
    end
    argument.instruction = words ~= '' and words or nil
    if name == 'fix' then
        argument.diagnostics = diagnostics_of(buffer, range.start.line, range['end'].line, encoding)
    end
    execute(buffer, name, argument)
end

local windows = {} -- uri -> { buffer, window }

local function open(lines)
    local buffer = vim.api.nvim_create_buf(false, true)
    vim.bo[buffer].filetype = 'markdown'
    vim.bo[buffer].bufhidden = 'wipe'
    local width = math.min(90, vim.o.columns - 4)
    local height = math.min(math.max(#lines, 12), math.max(3, vim.o.lines - 8))
    local window = vim.api.nvim_open_win(buffer, false, {
        relative = 'editor',
        width = width,
        height = height,
        row = 2,
        col = math.max(0, vim.o.columns - width - 2),
        style = 'minimal',
        border = 'rounded',
    })
    vim.wo[window].wrap = true
    vim.wo[window].linebreak = true
    for _, key in ipairs({ 'q', '<Esc>' }) do
        vim.keymap.set('n', key, '<cmd>close<cr>', { buffer = buffer, nowait = true })
    end
    return { buffer = buffer, window = window }
end

--- A document of the server's, whole each time; a window that was closed stays closed.
function M.show(params)
    if type(params) ~= 'table' or type(params.uri) ~= 'string' or type(params.text) ~= 'string' then
        return
    end
    local lines = vim.split(params.text, '\n', { plain = true })
    local shown = windows[params.uri]
    if not shown then
        shown = open(lines)
        windows[params.uri] = shown
    end
    if vim.api.nvim_buf_is_valid(shown.buffer) then
        vim.bo[shown.buffer].modifiable = true
        vim.api.nvim_buf_set_lines(shown.buffer, 0, -1, false, lines)
        vim.bo[shown.buffer].modifiable = false
    end
    if params.done then
        windows[params.uri] = nil
    end
end

--- Goes into the explanation that is on the screen.
function M.focus()
    for _, window in ipairs(vim.api.nvim_list_wins()) do
        if vim.api.nvim_win_get_config(window).relative ~= '' then
            return vim.api.nvim_set_current_win(window)
        end
    end
end

-- The folder a commit is made in: that of the file, or of git's own file's repository.
local function folder_of(buffer)
    local name = vim.api.nvim_buf_get_name(buffer)
    local git = name:match('^(.*)/%.git/')
    return git or (name ~= '' and vim.fn.fnamemodify(name, ':p:h')) or vim.fn.getcwd()
end

--- A message for what is staged: into the commit file when that is the buffer, else into register "+".
function M.commit_message(again)
    local buffer = vim.api.nvim_get_current_buf()
    local serving = server.client(buffer) and buffer or server.any_buffer()
    if not serving then
        return tell('no server runs; see :DbrxStatus')
    end
    local argument = { folder = vim.uri_from_fname(folder_of(buffer)), again = again or false }
    execute(serving, 'commitMessage', argument, function(result)
        local message = type(result) == 'table' and result.message
        if type(message) ~= 'string' then
            return
        end
        if vim.api.nvim_buf_is_valid(buffer) and vim.bo[buffer].filetype == 'gitcommit' then
            local lines = vim.split((message:gsub('\n$', '')), '\n', { plain = true })
            vim.api.nvim_buf_set_lines(buffer, 0, 0, false, lines)
        else
            vim.fn.setreg('"', message)
            pcall(vim.fn.setreg, '+', message)
            tell(message:match('^[^\n]*') .. '  (in the register)')
        end
    end)
end

return M
