-- The Authorization for the registry behind: REGISTRY_USERNAME and REGISTRY_PASSWORD, else what berth keeps in its token file (ECR, and
-- registries with tokens of their own): lines of `<scope> <expires> <value>`, replaced as a whole.

local settings = require "berth.settings"

local M = {}

local READ_AGAIN = 10
local lines, read_at = {}, -READ_AGAIN

local function read_file()
    local now = ngx.now()
    if now - read_at < READ_AGAIN then return lines end
    read_at = now
    local file, why = io.open(settings.token_file, "r")
    if not file then
        ngx.log(ngx.ERR, "the token file cannot be read: ", why)
        return lines
    end
    lines = {}
    for line in file:lines() do
        local scope, expires, value = line:match("^(%S+) (%d+) (.+)$")
        if scope then lines[scope] = { expires = tonumber(expires), value = value } end
    end
    file:close()
    return lines
end

-- "" for none. `scope` is what a registry with tokens of its own gets in a token request, such as `repository:x:pull`.
function M.authorization(scope)
    if settings.token_file then
        local found = read_file()
        for _, one in ipairs({ found[scope] or false, found["*"] or false }) do
            if one and one.expires > ngx.time() then return one.value end
        end
    end
    if settings.username then return "Basic " .. ngx.encode_base64(settings.username .. ":" .. (settings.password or "")) end
    return ""
end

return M
