-- The RSA keys that tokens are signed with, as {DATAGROK_URL}/docker/keys publishes them: a JWKS, a single JWK, {kid: pem} or a bare PEM.
-- All workers share one copy; an unknown id is looked up at most once per 30 s; cached keys stay usable for a token's
-- lifetime, also while the server is away.

local cjson = require "cjson.safe"
local pkey = require "openssl.pkey"

local M = {}

local KEPT, LOOK_AGAIN, FRESH, RETRY = 1800, 30, 600, 1
local FEWEST_BYTES = 256 -- 2048 bits

local parsed, parsed_version = {}, nil

local function from_base64url(text)
    text = text:gsub("-", "+"):gsub("_", "/")
    return ngx.decode_base64(text .. ("="):rep(-#text % 4))
end
M.from_base64url = from_base64url

local function der(tag, content)
    local n = #content
    local length
    if n < 128 then length = string.char(n)
    elseif n < 256 then length = string.char(0x81, n)
    else length = string.char(0x82, math.floor(n / 256), n % 256) end
    return string.char(tag) .. length .. content
end

local function integer(bytes)
    bytes = bytes:gsub("^%z+", "")
    if bytes:byte(1) >= 128 then bytes = "\0" .. bytes end
    return der(0x02, bytes)
end

-- SubjectPublicKeyInfo of RFC 8017: rsaEncryption with no parameters, around (n, e).
local RSA = der(0x30, der(0x06, "\42\134\72\134\247\13\1\1\1") .. "\5\0")

local function pem_of(jwk)
    if type(jwk) ~= "table" or jwk.kty ~= "RSA" or (jwk.use or "sig") ~= "sig" or (jwk.alg or "RS256") ~= "RS256" then return nil end
    if type(jwk.n) ~= "string" or type(jwk.e) ~= "string" then return nil end
    local n, e = from_base64url(jwk.n), from_base64url(jwk.e)
    if not n or not e or #n < FEWEST_BYTES or #n > 2048 or #e == 0 or #e > 8 then return nil end
    local info = der(0x30, RSA .. der(0x03, "\0" .. der(0x30, integer(n) .. integer(e))))
    return "-----BEGIN PUBLIC KEY-----\n" .. ngx.encode_base64(info) .. "\n-----END PUBLIC KEY-----\n"
end

-- { kid = pem }; nil for what is none of the four forms, such as an error page.
local function read(text)
    if text:match("^%s*%-%-%-%-%-BEGIN ") then return { [""] = text } end
    local value = cjson.decode(text)
    if type(value) == "string" and value:match("^%-%-%-%-%-BEGIN ") then return { [""] = value } end
    if type(value) ~= "table" then return nil end
    local found = {}
    if type(value.keys) == "table" then
        for _, jwk in ipairs(value.keys) do
            local pem = pem_of(jwk)
            if pem then found[type(jwk.kid) == "string" and jwk.kid or ""] = pem end
        end
        return found
    end
    if value.kty then return { [type(value.kid) == "string" and value.kid or ""] = pem_of(value) } end
    for kid, pem in pairs(value) do
        if type(pem) ~= "string" or not pem:match("^%-%-%-%-%-BEGIN ") then return nil end
        found[kid] = pem
    end
    return next(found) and found or nil
end

local function fetch(dict)
    local answer = ngx.location.capture("/_berth/keys", { method = ngx.HTTP_GET })
    local found = answer.status == 200 and read(answer.body)
    if not found then
        ngx.log(ngx.WARN, "the keys of tokens cannot be had (", answer.status, "); those known before are used on")
        return
    end
    local now = ngx.time()
    local kept = {}
    for kid, one in pairs(cjson.decode(dict:get("keys") or "{}") or {}) do
        if now - one.seen < KEPT then kept[kid] = one end
    end
    for kid, pem in pairs(found) do kept[kid] = { pem = pem, seen = now } end
    dict:set("keys", cjson.encode(kept))
    dict:set("fresh", true, FRESH)
    dict:incr("version", 1, 0)
end

local function cached_keys(dict)
    local version = dict:get("version")
    if version ~= parsed_version then
        parsed = {}
        for kid, one in pairs(cjson.decode(dict:get("keys") or "{}") or {}) do
            local ok, key = pcall(pkey.new, one.pem)
            if ok and key then parsed[kid] = key end
        end
        parsed_version = version
    end
    return parsed
end

local function pick(set, kid)
    if kid and set[kid] then return set[kid] end
    local only, key = next(set)
    if only and not next(set, only) and (not kid or only == "") then return key end
    return nil
end

-- The key with this id, or of a set whose only key has none, that one; nil if there is none.
function M.find(kid)
    local dict = ngx.shared.berth_keys
    local just_fetched = false
    -- The first who adds these looks; the others use what there is.
    if not dict:get("fresh") and dict:add("tried", true, RETRY) then
        fetch(dict)
        just_fetched = true
    end
    local key = pick(cached_keys(dict), kid)
    if not key and not just_fetched and dict:add("looked", true, LOOK_AGAIN) then
        fetch(dict)
        key = pick(cached_keys(dict), kid)
    end
    return key
end

function M.version()
    return ngx.shared.berth_keys:get("version") or 0
end

return M
