-- Columns: the editor counts bytes, the protocol UTF-16 units (or what was agreed on).
local M = {}

-- How many units of `encoding` the character that starts with this byte has; 0 inside a character.
local function units_of(byte, encoding)
    if byte >= 0x80 and byte < 0xC0 then
        return 0
    end
    return encoding == 'utf-16' and byte >= 0xF0 and 2 or 1
end

--- The column in `encoding` of the byte offset in `line`.
function M.to_units(line, byte, encoding)
    if encoding == 'utf-8' then
        return byte
    end
    local units = 0
    for i = 1, math.min(byte, #line) do
        units = units + units_of(line:byte(i), encoding)
    end
    return units
end

--- The byte offset in `line` of a column in `encoding`; the line's length when it is beyond.
function M.to_byte(line, column, encoding)
    if encoding == 'utf-8' then
        return math.min(column, #line)
    end
    local units = 0
    for i = 1, #line do
        local step = units_of(line:byte(i), encoding)
        if step > 0 and units >= column then
            return i - 1
        end
        units = units + step
    end
    return #line
end

return M
