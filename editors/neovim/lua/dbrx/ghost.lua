-- Ghost text: what is drawn for a suggestion, in one extmark that moves with the cursor.
--
-- Where nothing behind the cursor is replaced and the editor can (0.10), the first line is inline
-- text, which pushes the rest of the line aside. Else it is laid over the line: the rest that stays
-- is then drawn again behind the suggestion's last line.
local M = {}

local namespace = vim.api.nvim_create_namespace('dbrx')
local has_inline = vim.fn.has('nvim-0.10') == 1
local lines_max = 60 -- more than a screen is of no use
local mark_id = 1

-- Tabs as wide as they will be at this screen column, other control characters made visible.
local function displayable(text, column)
    local out = {}
    for part, tab in (text .. '\0'):gmatch('([^\t%z]*)([\t%z])') do
        part = part:gsub('[%c\127]', '?')
        table.insert(out, part)
        column = column + vim.fn.strdisplaywidth(part)
        if tab == '\t' then
            local width = vim.bo.tabstop - column % vim.bo.tabstop
            table.insert(out, (' '):rep(width))
            column = column + width
        end
    end
    return table.concat(out)
end

-- `swallowed`: how many bytes behind the cursor the suggestion replaces; `rest` stays.
local function layout(remaining, swallowed, rest, column)
    local lines = vim.split(remaining:gsub('%z', '?'), '\n', { plain = true })
    local shown = {}
    for i = 1, math.min(#lines, lines_max) do
        shown[i] = displayable(lines[i], i == 1 and column or 0)
    end
    local below = {}
    for i = 2, #shown do
        below[#below + 1] = { { shown[i] == '' and ' ' or shown[i], 'DbrxGhost' } }
    end
    local moved = rest ~= '' and #shown == #lines -- the rest is drawn where it will stand
    if has_inline and swallowed == 0 and (#lines == 1 or rest == '') then
        return 'inline', { { shown[1], 'DbrxGhost' } }, below
    end
    local first = { { shown[1], 'DbrxGhost' } }
    if moved then
        table.insert(#below > 0 and below[#below] or first, { displayable(rest, 0), 'Normal' })
    end
    return 'overlay', first, below
end

-- Overlay text must cover all of the line's rest, or both would be read as one.
local function cover(first, behind, column)
    local width = 0
    for _, chunk in ipairs(first) do
        width = width + vim.fn.strdisplaywidth(chunk[1], column + width)
    end
    local missing = vim.fn.strdisplaywidth(behind, column) - width
    if missing > 0 then
        table.insert(first, { (' '):rep(missing), 'Normal' })
    end
end

--- Draws `remaining` at the cursor (row and column from 0, in bytes).
function M.show(buffer, row, column, remaining, swallowed)
    local line = vim.api.nvim_buf_get_lines(buffer, row, row + 1, false)[1] or ''
    local behind = line:sub(column + 1)
    local screen_column = vim.fn.strdisplaywidth(line:sub(1, column))
    local rest = behind:sub(swallowed + 1)
    local position, first, below = layout(remaining, swallowed, rest, screen_column)
    if position == 'overlay' then
        cover(first, behind, screen_column)
    end
    vim.api.nvim_buf_set_extmark(buffer, namespace, row, column, {
        id = mark_id,
        virt_text = first,
        virt_text_pos = position,
        virt_lines = #below > 0 and below or nil,
        hl_mode = 'combine',
        priority = 5000,
    })
end

function M.hide(buffer)
    if vim.api.nvim_buf_is_valid(buffer) then
        vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1)
    end
end

--- What is drawn in the buffer, for tests and for the curious: { row, column, lines }, or nil.
function M.drawn(buffer)
    local mark = vim.api.nvim_buf_get_extmarks(buffer, namespace, 0, -1, { details = true })[1]
    if not mark then
        return nil
    end
    local function plain(chunks)
        return table.concat(vim.tbl_map(function(chunk)
            return chunk[1]
        end, chunks))
    end
    local lines = { plain(mark[4].virt_text) }
    for _, chunks in ipairs(mark[4].virt_lines or {}) do
        table.insert(lines, plain(chunks))
    end
    return { row = mark[2], column = mark[3], lines = lines }
end

return M
