-- Verifies tokens of {DATAGROK_URL}/docker/token. The algorithm is ours to say (RS256), keys come from the key set alone: what a token
-- says of either, beyond the name of its key, is not looked at.

local cjson = require "cjson.safe"
local digest = require "openssl.digest"
local keys = require "berth.keys"
local settings = require "berth.settings"

local M = {}

local LONGEST, LEEWAY = 16384, 60

local function trimmed(text)
    return (text:gsub("/+$", ""))
end

-- DATAGROK_ISSUER, else the server's own webRoot, loaded at most every 10 minutes.
local function issuer()
    if settings.issuer then return trimmed(settings.issuer) end
    local dict = ngx.shared.berth_keys
    local known = dict:get("issuer")
    if (known and dict:get("issuer_fresh")) or not dict:add("issuer_looked", true, 1) then return known end
    local answer = ngx.location.capture("/_berth/startup_data", { method = ngx.HTTP_GET })
    local data = answer.status == 200 and cjson.decode(answer.body)
    if type(data) == "table" and type(data.webRoot) == "string" and data.webRoot ~= "" then
        known = trimmed(data.webRoot)
        dict:set("issuer", known)
        dict:set("issuer_fresh", true, 600)
    else
        ngx.log(ngx.WARN, "the issuer of tokens cannot be loaded (", answer.status, "); DATAGROK_ISSUER sets it")
    end
    return known
end

local function is_for_us(audience)
    if type(audience) ~= "table" then return audience == settings.service end
    for _, one in ipairs(audience) do
        if one == settings.service then return true end
    end
    return false
end

-- The claims, or nil and why not.
local function judge(token)
    local head, body, signature = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
    if not head then return nil, "The token is not valid" end
    local header = cjson.decode(keys.from_base64url(head) or "")
    if type(header) ~= "table" or header.alg ~= "RS256" or header.crit ~= nil then return nil, "The token is not valid" end
    local kid = header.kid
    if kid ~= nil and type(kid) ~= "string" then return nil, "The token is not valid" end
    local key = keys.find(kid)
    if not key then return nil, "The token is signed with a key that is not published" end
    local sum = digest.new("sha256")
    sum:update(head .. "." .. body)
    local sane, good = pcall(key.verify, key, keys.from_base64url(signature) or "", sum)
    if not sane or not good then return nil, "The token's signature is not valid" end
    local claims = cjson.decode(keys.from_base64url(body) or "")
    if type(claims) ~= "table" then return nil, "The token is not valid" end
    local now = ngx.time()
    if type(claims.exp) ~= "number" then return nil, 'The token\'s claim "exp" is not as it must be' end
    if claims.exp <= now - LEEWAY then return nil, "The token has expired; sign in again" end
    if claims.nbf ~= nil and (type(claims.nbf) ~= "number" or claims.nbf > now + LEEWAY) then
        return nil, 'The token\'s claim "nbf" is not as it must be'
    end
    local by = issuer()
    if type(claims.iss) ~= "string" or not by or trimmed(claims.iss) ~= by then
        return nil, 'The token\'s claim "iss" is not as it must be'
    end
    if not is_for_us(claims.aud) then return nil, 'The token\'s claim "aud" is not as it must be' end
    if claims.lim ~= "docker" then return nil, "The token is not for a registry" end
    return claims
end

-- { access = {…} or nil }, or nil and a sentence.
function M.verify(token)
    if #token > LONGEST then return nil, "The token is too long" end
    -- The one for who only reads, for instance.
    if not token:match("^[%w_-]+%.[%w_-]+%.[%w_-]+$") then return nil, "This token allows only public pulls; sign in first" end
    local sum = digest.new("sha256")
    local name = keys.version() .. ":" .. ngx.encode_base64(sum:final(token))
    local dict = ngx.shared.berth_tokens
    local known = dict:get(name)
    if known then return cjson.decode(known) end
    local claims, why = judge(token)
    if not claims then return nil, why end
    local access = claims.access ~= cjson.null and claims.access or nil
    if access ~= nil and type(access) ~= "table" then return nil, "The access list of the token is not valid" end
    local granted = { access = access }
    local life = claims.exp - ngx.time()
    -- The version may have changed by what was just looked up: then it is judged once more next time.
    if life > 0 then dict:set(name, cjson.encode(granted), life) end
    return granted
end

-- Whether the token allows this on this repository; one without `access` allows everything.
function M.allows(granted, repository, action)
    if granted.access == nil then return true end
    for _, one in ipairs(granted.access) do
        if type(one) == "table" and one.type == "repository" and one.name == repository and type(one.actions) == "table" then
            for _, allowed in ipairs(one.actions) do
                if allowed == action or allowed == "*" then return true end
            end
        end
    end
    return false
end

return M
