-- Answers of our own, as clients of a registry read them: they show the code and the sentence to who sits at the terminal.

local cjson = require "cjson.safe"
local settings = require "berth.settings"

local M = {}

local function send(status, body, more)
    ngx.status = status
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Cache-Control"] = "no-store"
    ngx.header["Docker-Distribution-Api-Version"] = "registry/2.0"
    -- nginx keeps that of a 401 which it was answered with.
    ngx.header["WWW-Authenticate"] = nil
    for name, value in pairs(more or {}) do ngx.header[name] = value end
    ngx.header["Content-Length"] = #body
    ngx.print(body)
    return ngx.exit(ngx.HTTP_OK)
end

function M.empty()
    return send(200, "{}")
end

function M.refuse(status, code, sentence, more)
    return send(status, '{"errors":[{"code":"' .. code .. '","message":' .. cjson.encode(sentence):gsub("\\/", "/") .. ',"detail":null}]}', more)
end

-- A token for clients that insist on one where none is needed. It is no JWT, and grants nothing.
function M.anonymous_token()
    local issued_at = os.date("!%Y-%m-%dT%H:%M:%S", ngx.time()) .. (".%03dZ"):format((ngx.now() % 1) * 1000)
    return send(200, '{"token":"anonymous","access_token":"anonymous","expires_in":1800,"issued_at":"' .. issued_at .. '"}')
end

-- The proxy's own address as the client sees it; who is trusted to say so stands in registry-http.conf.
function M.seen_by_client()
    local trusts = ngx.var.berth_trusted == "1"
    local proto = trusts and (ngx.var.http_x_forwarded_proto or ""):match("^%s*([^,%s]*)"):lower() or ""
    local host = trusts and (ngx.var.http_x_forwarded_host or ""):match("^%s*([^,%s]*)") or ""
    if proto ~= "http" and proto ~= "https" then proto = ngx.var.scheme end
    for _, one in ipairs({ host, ngx.var.http_host or "" }) do
        if ngx.re.find(one, [[^(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$]], "jo") then return proto .. "://" .. one end
    end
    return proto .. "://localhost"
end

-- 401, with where a token can be had.
function M.challenge(code, sentence, scope, mistake)
    local words = { 'realm="' .. M.seen_by_client() .. '/token"', 'service="' .. settings.service .. '"' }
    if scope ~= "" then words[#words + 1] = 'scope="' .. scope .. '"' end
    if mistake then words[#words + 1] = 'error="' .. mistake .. '"' end
    return M.refuse(401, code, sentence, { ["WWW-Authenticate"] = "Bearer " .. table.concat(words, ",") })
end

return M
