-- Where Location and Link lead: here, where they lead to the registry behind.

local paths = require "berth.paths"
local settings = require "berth.settings"

local M = {}

local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

local function without_port(host)
    return (host:gsub(":%d+$", ""))
end

-- As relative as it came. A redirect elsewhere, to a store of blobs say, stays; where an upload goes on is here, under whatever name the
-- registry knows itself.
local function lead_back(address, elsewhere_is_meant)
    local registry = settings.registry
    local host, path = address:match("^https?://([^/?#]*)(.*)$")
    path = path or address
    if not host and path:sub(1, 1) ~= "/" then return address end
    local is_here = path:sub(1, #registry.path + 4) == registry.path .. "/v2/"
    local bare = path:sub(#registry.path + 1)
    -- Nothing that this proxy has: the client finds it at the registry itself, or not at all.
    if not is_here or not paths.read(bare:match("^[^?#]*")) then return host and address or (registry.scheme .. "://" .. registry.host .. path) end
    if not host then return bare end
    if elsewhere_is_meant and without_port(host) ~= without_port(registry.host) then return address end
    return ngx.ctx.seen .. bare
end

-- For header_filter_by_lua.
function M.edit()
    if not ngx.ctx.seen then return end
    local location = ngx.header["Location"]
    if type(location) == "string" then
        local led = lead_back(location, REDIRECTS[ngx.status])
        if led ~= location then ngx.header["Location"] = led end
    end
    local link = ngx.header["Link"]
    if type(link) == "string" then
        local led = link:gsub("<([^<>]*)>", function(one) return "<" .. lead_back(one, true) .. ">" end)
        if led ~= link then ngx.header["Link"] = led end
    end
end

return M
