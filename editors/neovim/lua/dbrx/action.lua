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

-- What goes on is said in the message area, not kept, and never over a command line that is typed.
local mentioned = false

local function mention(text)
    if vim.api.nvim_get_mode().mode:sub(1, 1) == 'c' or #vim.api.nvim_list_uis() == 0 then
        return
    end
    mentioned = text ~= ''
    local width = math.max(20, vim.o.columns - 15) -- longer would ask to press a key
    vim.api.nvim_echo({ { vim.fn.strcharpart((text:gsub('%c', ' ')), 0, width) } }, false, {})
end

local running = {} -- in the order asked: { command, client, stop, token, title }

-- Takes it off the list; false when it was off before.
local function ended(asked)
    for i, one in ipairs(running) do
        if one == asked then
            table.remove(running, i)
            if mentioned then
                mention('')
            end
            return true
        end
    end
    return false
end

--- The command's answer goes to `done`; a refusal belongs to a command the user gave, so it is said.
local function execute(buffer, command, argument, done)
    local client = server.client(buffer)
    if not client then
        return tell('the server is not ready; see :DbrxStatus')
    end
    local params = { command = 'dbrx-ls.' .. command, arguments = { argument } }
    local asked = { command = command, client = client.id }
    table.insert(running, asked)
    asked.stop = server.request(client, 'workspace/executeCommand', params, buffer, function(err, result)
        if ended(asked) then
            if err then
                tell(err.message or 'the action failed')
            else
                done(result)
            end
        end
    end)
    if not asked.stop and ended(asked) then
        tell('the server is not ready; see :DbrxStatus')
    end
end

local function cancel(command)
    for _, asked in ipairs({ unpack(running) }) do
        if not command or asked.command == command then
            asked.stop()
            ended(asked)
        end
    end
end

-- Progress begins in the order of the commands.
local function asked_of(client, token, begins)
    for _, asked in ipairs(running) do
        if asked.client == client and asked.token == (not begins and token or nil) then
            asked.token = token
            return asked
        end
    end
end

--- $/progress of our server: how far it is, until it ends.
function M.progress(params, client)
    local value = type(params) == 'table' and params.value
    local asked = type(value) == 'table' and asked_of(client, params.token, value.kind == 'begin')
    if not asked then
        return
    end
    if value.kind == 'end' then
        -- The answer comes next, but Neovim keeps to itself that something was cancelled.
        vim.defer_fn(function()
            if ended(asked) then
                tell(value.message or 'cancelled')
            end
        end, 200)
        return
    end
    asked.title = value.title or asked.title
    local words = value.message and (': ' .. value.message) or ''
    mention(('dbrx-ls: %s%s  (:DbrxCancel ends it)'):format(asked.title or 'working', words))
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

-- A new file: its last line end has become an empty line, for the buffer had one line already. Neovim
-- before 0.8 does not show documents for a server.
local function created(result)
    if type(result) ~= 'table' or result.outcome ~= 'created' or type(result.uri) ~= 'string' then
        return
    end
    local buffer = vim.uri_to_bufnr(result.uri)
    local last = vim.api.nvim_buf_is_loaded(buffer) and vim.api.nvim_buf_get_lines(buffer, -2, -1, false)[1]
    if last == '' and vim.api.nvim_buf_line_count(buffer) > 1 then
        vim.api.nvim_buf_set_lines(buffer, -2, -1, false, {})
    end
    if vim.fn.has('nvim-0.8') == 0 then
        local window = vim.api.nvim_get_current_win()
        vim.cmd('split ' .. vim.fn.fnameescape(vim.uri_to_fname(result.uri)))
        vim.api.nvim_set_current_win(window)
    end
end

-- An instruction is asked for where there is none yet; nothing typed is nothing done.
local function act(buffer, name, argument)
    if name == 'rewrite' and not argument.instruction then
        argument.instruction = vim.fn.input('Change it how? ')
        if argument.instruction == '' then
            return
        end
    end
    execute(buffer, name, argument, created)
end

--- Runs an action on the lines first..last of the current buffer, or at the cursor. `words` are the
--- instruction of "rewrite"; without them they are asked for.
function M.run(name, first, last, words)
    if not vim.tbl_contains(M.names, name) then
        return tell('no such action: ' .. name)
    end
    local buffer = vim.api.nvim_get_current_buf()
    local client = server.client(buffer)
    local encoding = client and client.offset_encoding or 'utf-16'
    local range = range_of(buffer, first, last, encoding)
    local argument = { textDocument = { uri = vim.uri_from_bufnr(buffer) }, range = range }
    argument.instruction = words ~= '' and words or nil
    if name == 'fix' then
        argument.diagnostics = diagnostics_of(buffer, range.start.line, range['end'].line, encoding)
    end
    act(buffer, name, argument)
end

--- Actions picked from the editor's own menu run as those of :DbrxAct do.
function M.register()
    for _, name in ipairs(M.names) do
        vim.lsp.commands['dbrx-ls.' .. name] = function(command, context)
            act(context.bufnr or vim.api.nvim_get_current_buf(), name, command.arguments[1])
        end
    end
end

local shown -- the explanation on the screen: { uri, buffer, window }

local function close()
    if shown and vim.api.nvim_win_is_valid(shown.window) then
        vim.api.nvim_win_close(shown.window, true)
    end
    shown = nil
end

local function open(uri, lines)
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
    return { uri = uri, buffer = buffer, window = window }
end

local closed = {} -- uris of explanations whose window the user closed

--- A document of the server's, whole each time; a window that was closed stays closed.
function M.show(params)
    if type(params) ~= 'table' or type(params.uri) ~= 'string' or type(params.text) ~= 'string' then
        return
    end
    local lines = vim.split(params.text, '\n', { plain = true })
    if shown and not vim.api.nvim_win_is_valid(shown.window) then
        closed[shown.uri] = true
        shown = nil
        cancel('explain') -- nobody reads it
    end
    if closed[params.uri] then
        closed[params.uri] = not params.done or nil
        return
    end
    if not shown or shown.uri ~= params.uri then
        if shown then
            closed[shown.uri] = true -- one at a time
        end
        close()
        shown = open(params.uri, lines)
    end
    vim.bo[shown.buffer].modifiable = true
    vim.api.nvim_buf_set_lines(shown.buffer, 0, -1, false, lines)
    vim.bo[shown.buffer].modifiable = false
end

--- Goes into the explanation that is on the screen.
function M.focus()
    if shown and vim.api.nvim_win_is_valid(shown.window) then
        vim.api.nvim_set_current_win(shown.window)
    end
end

--- Ends what is under way; when nothing is, closes the explanation.
function M.cancel()
    if #running > 0 then
        cancel()
        tell('cancelled')
    elseif shown then
        close()
    else
        tell('nothing is under way')
    end
end

-- The folder a commit is made in: that of the file, or of git's own file's repository.
local function folder_of(buffer)
    local name = vim.api.nvim_buf_get_name(buffer)
    local git = name:match('^(.*)/%.git/')
    return git or (name ~= '' and vim.fn.fnamemodify(name, ':p:h')) or vim.fn.getcwd()
end

-- What the model did not see and what is wrong with the message, in a few words.
local function omissions(result)
    local omitted = type(result.omitted) == 'table' and result.omitted or {}
    local words = {}
    if type(result.note) == 'string' and result.note ~= '' then
        table.insert(words, result.note)
    end
    if #omitted > 0 then
        local more = #omitted > 1 and (' and %d more'):format(#omitted - 1) or ''
        table.insert(words, 'not all was read: ' .. tostring(omitted[1]) .. more)
    end
    return table.concat(words, '; ')
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
        local left_out = omissions(result)
        if vim.api.nvim_buf_is_valid(buffer) and vim.bo[buffer].filetype == 'gitcommit' then
            local lines = vim.split((message:gsub('\n$', '')), '\n', { plain = true })
            vim.api.nvim_buf_set_lines(buffer, 0, 0, false, lines)
            if left_out ~= '' then
                tell(left_out)
            end
        else
            vim.fn.setreg('"', message)
            pcall(vim.fn.setreg, '+', message)
            tell(message:match('^[^\n]*') .. '  (in the register)' .. (left_out ~= '' and '; ' .. left_out or ''))
        end
    end)
end

return M
