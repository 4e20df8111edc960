-- :checkhealth dbrx
local M = {}

local health = vim.health or require('health') -- 0.8 moved it
local say = {
    start = health.start or health.report_start,
    ok = health.ok or health.report_ok,
    warn = health.warn or health.report_warn,
    error = health.error or health.report_error,
    info = health.info or health.report_info,
}

function M.check()
    local config = require('dbrx.config')
    local status = require('dbrx.server').status
    say.start('dbrx-ls')
    local cmd, problem = config.command()
    if cmd and vim.fn.executable(cmd[1]) == 1 then
        say.ok('server: ' .. table.concat(cmd, ' '))
    else
        say.error('server: ' .. (problem or ('cannot run ' .. cmd[1])))
    end
    local is_well = status.state == 'ready' or status.state == 'busy'
    local report = is_well and say.ok or say.warn
    local reason = status.reason or ''
    report('state: ' .. status.state .. (reason ~= '' and ', ' .. reason or ''))
    for i, line in ipairs(require('dbrx.report').lines()) do
        if i > 1 and not line:find('^  reason:') and not line:find('^  server:') then
            say.info(vim.trim(line)) -- the rest stands above
        end
    end
end

return M
