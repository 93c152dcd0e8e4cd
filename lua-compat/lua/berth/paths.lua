-- What of the registry a request is for. The same patterns as berth's gateway/registry/authorize.ts: lower-case words between slashes, so
-- that nothing can be decoded into another repository behind us.

local M = {}

local WORD = [[[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*]]
local NAME = WORD .. "(?:/" .. WORD .. ")*"
local REFERENCE = [[(?!\.{1,2}$)(?:[\w.:=+~-]|%3[Aa])+]]
local LONGEST_NAME = 255

local TAILS = {
    { "manifest", "/manifests/(?:" .. REFERENCE .. ")" },
    { "tags", "/tags/list" },
    { "referrers", "/referrers/(?:" .. REFERENCE .. ")" },
    { "uploads", "/blobs/uploads?/?" },
    { "upload", "/blobs/uploads?/(?:" .. REFERENCE .. ")" },
    { "blob", "/blobs/(?:" .. REFERENCE .. ")" },
}

-- { kind, repository }, or nil for what is nothing of a registry's.
function M.read(path)
    if path == "/v2/" or path == "/v2" then return { kind = "base" } end
    if path == "/v2/_catalog" then return { kind = "catalog" } end
    for _, tail in ipairs(TAILS) do
        local found = ngx.re.match(path, "^/v2/(" .. NAME .. ")" .. tail[2] .. "$", "jo")
        if found then
            if #found[1] > LONGEST_NAME then return nil end
            return { kind = tail[1], repository = found[1] }
        end
    end
    return nil
end

function M.is_repository(name)
    return #name <= LONGEST_NAME and ngx.re.find(name, "^" .. NAME .. "$", "jo") ~= nil
end

return M
