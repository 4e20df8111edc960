-- The suggestion at the cursor: asked for, shown, typed along, accepted, dismissed.
--
-- A suggestion says: from `start` (row, byte) stands `text`, and behind it on the last line stays
-- `rest`. Whether it still holds is read off the buffer after every event, so it does not matter
-- how the text changed: it holds while the text from `start` to the cursor is a beginning of `text`
-- and what stands between the cursor and `rest` (closing brackets the editor put there by itself)
-- comes in what is left of it. While it holds it is drawn anew before the screen is: no flicker.
local config = require('dbrx.config')
local ghost = require('dbrx.ghost')
local position = require('dbrx.position')
local server = require('dbrx.server')

local M = {}

local current -- the suggestion: { buffer, row, column, before, text, rest, command }
local pending -- what an answer is waited for: { buffer, tick, row, column, cancel }
local last -- the place the last event saw: equal ones are one event
local timer = vim.loop.new_timer()

function M.define_highlight()
    vim.cmd('highlight default DbrxGhost ctermfg=8 guifg=#808080')
end

local function place()
    local cursor = vim.api.nvim_win_get_cursor(0)
    return {
        buffer = vim.api.nvim_get_current_buf(),
        tick = vim.api.nvim_buf_get_changedtick(0),
        row = cursor[1] - 1,
        column = cursor[2],
    }
end

local function same(a, b)
    if not a or not b or a.buffer ~= b.buffer or a.tick ~= b.tick then
        return false
    end
    return a.row == b.row and a.column == b.column
end

local function line_at(buffer, row)
    return vim.api.nvim_buf_get_lines(buffer, row, row + 1, false)[1] or ''
end

local function is_inserting()
    return vim.api.nvim_get_mode().mode:sub(1, 1) == 'i' and vim.fn.pumvisible() == 0
end

local function is_subsequence(part, whole)
    local from = 1
    for i = 1, #part do
        from = whole:find(part:sub(i, i), from, true)
        if not from then
            return false
        end
        from = from + 1
    end
    return true
end

-- What is left of the suggestion at this place and how many bytes behind the cursor it replaces;
-- nil when it does not hold.
local function left_of(s, at)
    if not s or s.buffer ~= at.buffer or at.row < s.row then
        return nil
    end
    if at.row == s.row and at.column < s.column then
        return nil
    end
    if at.row - s.row > s.n_newlines or line_at(s.buffer, s.row):sub(1, s.column) ~= s.before then
        return nil
    end
    local lines = vim.api.nvim_buf_get_text(s.buffer, s.row, s.column, at.row, at.column, {})
    local typed = table.concat(lines, '\n')
    if s.text:sub(1, #typed) ~= typed then
        return nil
    end
    local remaining = s.text:sub(#typed + 1)
    local behind = line_at(s.buffer, at.row):sub(at.column + 1)
    if #behind < #s.rest or behind:sub(#behind - #s.rest + 1) ~= s.rest then
        return nil
    end
    local between = behind:sub(1, #behind - #s.rest)
    if remaining == '' or not is_subsequence(between, remaining) then
        return nil
    end
    return remaining, #between
end

local function hide()
    if current then
        ghost.hide(current.buffer)
        current = nil
    end
end

local function cancel()
    timer:stop()
    if pending and pending.cancel then
        pending.cancel()
    end
    pending = nil
end

-- Draws the suggestion at the cursor if it still holds; else forgets it.
local function draw(at)
    local remaining, swallowed = left_of(current, at)
    if not remaining or not remaining:find('%S') then
        hide()
        return false
    end
    ghost.show(at.buffer, at.row, at.column, remaining, swallowed)
    return true
end

-- An item of an answer as a suggestion, or nil when it is none this plugin shows.
local function read_item(item, at, encoding)
    local range = type(item) == 'table' and item.range
    if type(range) ~= 'table' or type(item.insertText) ~= 'string' then
        return nil
    end
    local first, last = range.start, range['end']
    if first.line ~= at.row or last.line ~= at.row then
        return nil
    end
    local line = line_at(at.buffer, at.row)
    local column = position.to_byte(line, first.character, encoding)
    local text = item.insertText:gsub('\r\n', '\n')
    return {
        buffer = at.buffer,
        row = at.row,
        column = column,
        before = line:sub(1, column),
        text = text,
        n_newlines = select(2, text:gsub('\n', '')),
        rest = line:sub(position.to_byte(line, last.character, encoding) + 1),
        command = type(item.command) == 'table' and item.command or nil,
    }
end

-- The first item that may be shown here.
local function read(result, at, encoding)
    if type(result) ~= 'table' then
        return nil
    end
    for _, item in ipairs(result.items or result) do
        local s = read_item(item, at, encoding)
        if left_of(s, at) then
            return s
        end
    end
end

local function answered(asked, err, result, encoding)
    if pending ~= asked then
        return -- cancelled, or asked again
    end
    pending = nil
    if err or not is_inserting() or not same(asked, place()) then
        return -- late answers are dropped; errors have a place in :DbrxStatus, not here
    end
    current = read(result, asked, encoding)
    if current then
        draw(asked)
    end
end

local function ask(at, trigger)
    cancel()
    local client = server.client(at.buffer)
    if not client then
        return
    end
    local encoding = client.offset_encoding or 'utf-16'
    local column = position.to_units(line_at(at.buffer, at.row), at.column, encoding)
    local params = {
        textDocument = { uri = vim.uri_from_bufnr(at.buffer) },
        position = { line = at.row, character = column },
        context = { triggerKind = trigger },
    }
    pending = at
    local function on_answer(err, result)
        answered(at, err, result, encoding)
    end
    local method = 'textDocument/inlineCompletion'
    at.cancel = server.request(client, method, params, at.buffer, on_answer)
    if not at.cancel then
        pending = nil
    end
end

local function ask_soon(at)
    cancel()
    if not config.options.automatic or not server.client(at.buffer) then
        return
    end
    timer:start(config.options.debounce_ms, 0, vim.schedule_wrap(function()
        if is_inserting() and same(at, place()) then
            ask(at, 2)
        end
    end))
end

--- After any event in insert mode: keeps what holds, asks for what does not.
function M.changed()
    local at = place()
    if not is_inserting() then
        if vim.fn.pumvisible() == 1 then
            M.stop() -- two lists at one cursor are one too many
        end
        return
    end
    if same(at, last) then
        return
    end
    last = at
    if not draw(at) then
        ask_soon(at)
    end
end

--- Asks again at a place where there could be no answer before.
function M.retry()
    last = nil
    M.changed()
end

--- What was not there in time is there now: asked for again where the cursor still rests.
function M.late(uri)
    local at = place()
    local rests = is_inserting() and same(at, last) and vim.uri_from_bufnr(at.buffer) == uri
    if rests and not current and not pending then
        ask(at, 2)
    end
end

--- Forgets everything: insert mode or the window was left.
function M.stop()
    last = nil
    cancel()
    hide()
end

function M.is_visible()
    return current ~= nil and is_inserting() and left_of(current, place()) ~= nil
end

-- The server learns what was taken; what it answers is of no interest here.
local function run_command(s)
    local client = s.command and server.client(s.buffer)
    if client then
        local params = { command = s.command.command, arguments = s.command.arguments }
        server.request(client, 'workspace/executeCommand', params, s.buffer, function() end)
    end
end

-- Puts `text` (a beginning of what is left) at the cursor in place of `swallowed` bytes behind it.
local function insert(at, text, swallowed)
    vim.cmd('let &l:undolevels = &l:undolevels') -- one `u` takes back just this
    local lines = vim.split(text, '\n', { plain = true })
    vim.api.nvim_buf_set_text(at.buffer, at.row, at.column, at.row, at.column + swallowed, lines)
    local column = #lines > 1 and #lines[#lines] or at.column + #lines[1]
    vim.api.nvim_win_set_cursor(0, { at.row + #lines, column })
end

-- Accepts what `part` picks from the text that is left.
local function take(part)
    local at = place()
    local s = current
    local remaining, swallowed = left_of(s, at)
    if not remaining or not is_inserting() then
        return false
    end
    local text = part(remaining)
    local is_all = text == remaining
    if is_all then
        hide()
    end
    insert(at, text, is_all and swallowed or 0)
    if is_all then
        run_command(s)
    else
        draw(place())
    end
    return true
end

function M.accept()
    return take(function(remaining)
        return remaining
    end)
end

function M.accept_word()
    return take(function(remaining)
        local word = vim.fn.matchstr(remaining, [=[^\_s*\%(\k\+\|[^[:keyword:][:space:]]\+\)]=])
        return word ~= '' and word or remaining
    end)
end

function M.accept_line()
    return take(function(remaining)
        return remaining:match('^\n?[^\n]*')
    end)
end

--- Hides the suggestion, which is not offered here again; the next one comes with the next change.
function M.dismiss()
    local was_visible = M.is_visible()
    local client = was_visible and server.client(current.buffer)
    if client then
        server.notify(client, 'dbrx/dismissed', {
            textDocument = { uri = vim.uri_from_bufnr(current.buffer) },
        })
    end
    cancel()
    hide()
    return was_visible
end

function M.invoke()
    if not is_inserting() then
        return false
    end
    hide()
    last = place()
    ask(last, 1)
    return pending ~= nil
end

return M
