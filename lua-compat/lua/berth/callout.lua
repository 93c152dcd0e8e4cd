-- nginx carries the bytes of requests to containers; berth decides about them. Each worker keeps a decision for at most a second, and drops it
-- as soon as berth says that its container or a session has changed.

local ffi = require("ffi")
local get_request = require("resty.core.base").get_request

local ngx, tonumber, pairs, ipairs, next, type = ngx, tonumber, pairs, ipairs, next, type
local cast = ffi.cast
local sub, byte, find, match, lower = string.sub, string.byte, string.find, string.match, string.lower
local concat = table.concat
local now = ngx.now

local M = {}

local PREFIX = "/api/docker/containers/proxy/"
local ID_LENGTH = 36
-- The end of a container's id in a target.
local ID_TO = #PREFIX + ID_LENGTH
local SLASH, QUESTION_MARK, LINE_FEED = byte("/"), byte("?"), byte("\n")
local KEEP_SECONDS = 1
local RENEW_SECONDS = 0.5
-- Decisions of one worker: beyond it, all are dropped.
local MAX_KEPT = 10000
-- Longer keys belong to requests with large cookies: berth decides about each of them.
local MAX_KEY = 4096
local REPORT_EVERY_SECONDS = 1
-- How long berth may hold a request until its container is ready: longer than its proxyRequestTimeout.
local HOLD_MS = 330000
local MAX_RESPONSE_LINES = 200
-- The seconds of an X-Berth-Busy: at most seven digits.
local BUSY = "^%d%d?%d?%d?%d?%d?%d?$"

-- The response header with the new value of each request header, and the variable of callout.conf that nginx sends. Empty: it sends none.
local EDITED = {
    ["x-berth-authorization"] = "berth_authorization",
    ["x-berth-cookie"] = "berth_cookie",
    ["x-berth-user-api-key"] = "berth_user_api_key",
    ["x-berth-forwarded-for"] = "berth_forwarded_for",
    ["x-berth-forwarded-proto"] = "berth_forwarded_proto",
    ["x-berth-forwarded-host"] = "berth_forwarded_host",
    ["x-berth-real-ip"] = "berth_real_ip",
    ["x-berth-forwarded"] = "berth_forwarded",
    ["x-berth-traceparent"] = "berth_traceparent",
    ["x-berth-tracestate"] = "berth_tracestate",
    ["x-berth-request-id"] = "berth_request_id",
}
-- Those of one request: a decision that is kept does not give them to others.
local OF_REQUEST = { berth_traceparent = true, berth_tracestate = true, berth_request_id = true }
-- Those of a kept decision, which the location of kept decisions sends.
local KEPT = { berth_authorization = true, berth_cookie = true, berth_user_api_key = true }
-- What that location sends for the rest; where it is left out, nothing.
local OWN = { berth_forwarded_for = "remote_addr", berth_forwarded_proto = "scheme", berth_forwarded_host = "http_host" }
-- Names in berth's X-Berth-Vary that are at the end of `$berth_key` of callout.conf.
local SPECIAL = { ["x-berth-no-wake"] = true, ["sec-purpose"] = true }

-- Not of the client for berth: lines of the connection, and names that only a proxy writes.
local NOT_SENT = {}
for _, name in ipairs({
    "host", "connection", "content-length", "transfer-encoding", "expect", "te", "trailer", "keep-alive", "proxy-connection", "upgrade",
    "x-original-method", "x-original-uri", "x-forwarded-method", "x-forwarded-uri", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
    "x-berth-callout-secret", "x-berth-proxy",
}) do NOT_SENT[name] = true end

local set_current_peer
local options = { host = "127.0.0.1", port = 8082, secret = "" }
-- By the target as far as the container's id, then by `$berth_key`.
local kept, count, changes = {}, 0, 0
local open, requests, busy = {}, {}, {}
-- The decision of each request that is open, by its address in nginx: a variable would cost several times as much.
local decisions_of = {}

local function request_key()
    return tonumber(cast("uintptr_t", get_request()))
end

local function drop_all()
    kept, count = {}, 0
    changes = changes + 1
end

-- Sends a question once. The last result: nothing was received on a connection that was used before, which berth may have closed meanwhile.
local function try(lines, timeout)
    local socket = ngx.socket.tcp()
    socket:settimeouts(3000, 10000, timeout)
    local ok, err = socket:connect(options.host, options.port, { pool_size = 64 })
    if not ok then return nil, err end
    local reused = (socket:getreusedtimes() or 0) > 0
    local line
    ok, err = socket:send(lines)
    if ok then line, err = socket:receive("*l") end
    if not line then return nil, err, nil, reused and err == "closed" end
    local status = tonumber(match(line, "^HTTP/1%.1 (%d%d%d)"))
    local headers, complete = {}, false
    for _ = 1, MAX_RESPONSE_LINES do
        line, err = socket:receive("*l")
        if not line then break end
        if line == "" then complete = true break end
        local name, value = match(line, "^([^:]+):%s*(.-)%s*$")
        if name then headers[lower(name)] = value end
    end
    local length = tonumber(headers["content-length"])
    if not (status and complete and length) then
        socket:close()
        return nil, err or "malformed response"
    end
    local body = ""
    if length > 0 then
        body, err = socket:receive(length)
        if not body then return nil, err end
    end
    if headers["connection"] == "close" then socket:close() else socket:setkeepalive(30000, 64) end
    return status, headers, body
end

-- Returns status, headers and body; nil and the error where berth does not answer. A question changes nothing, so it may be repeated.
local function ask(lines, timeout)
    for _ = 1, 64 do
        local status, headers, body, again = try(lines, timeout)
        if not again then return status, headers, body end
    end
    return nil, "closed"
end

local function question(path, more)
    return concat({ "GET ", path, " HTTP/1.1\r\nHost: berth\r\nX-Berth-Callout-Secret: ", options.secret, "\r\nX-Berth-Proxy: ", options.proxy, "\r\n", more or "", "\r\n" })
end

local function ask_about(var, uri)
    local lines = {}
    local function add(name, value)
        lines[#lines + 1] = name .. ": " .. value .. "\r\n"
    end
    for name, value in pairs(ngx.req.get_headers(0)) do
        if not NOT_SENT[name] then
            if type(value) == "table" then
                for _, one in ipairs(value) do add(name, one) end
            else
                add(name, value)
            end
        end
    end
    add("X-Original-Method", var.request_method)
    add("X-Original-URI", uri)
    add("X-Forwarded-For", var.remote_addr)
    add("X-Forwarded-Proto", var.scheme)
    local head = concat({
        "GET /decide HTTP/1.1\r\nHost: ", var.http_host or "", "\r\nX-Berth-Callout-Secret: ", options.secret,
        "\r\nX-Berth-Proxy: ", options.proxy, "\r\n", concat(lines), "\r\n",
    })
    return ask(head, HOLD_MS)
end

-- The path for the container, of a raw target; nil where berth has to look at it.
local function path_in(uri)
    local first = byte(uri, ID_TO + 1)
    if first == SLASH then return sub(uri, ID_TO + 1) end
    if first == nil then return "/" end
    if first == QUESTION_MARK then return "/" .. sub(uri, ID_TO + 1) end
    return nil
end

local function kept_decision(uri, key)
    local decisions = kept[sub(uri, 1, ID_TO)]
    return decisions and decisions[key]
end

local function forget(uri, key)
    local decisions = kept[sub(uri, 1, ID_TO)]
    if decisions then decisions[key] = nil end
end

local function keep(uri, key, decision)
    if count >= MAX_KEPT then drop_all() end
    local place = sub(uri, 1, ID_TO)
    local decisions = kept[place]
    if not decisions then
        decisions = {}
        kept[place] = decisions
    end
    decisions[key] = decision
    count = count + 1
end

-- The request goes to the decision's container, and counts as open until its end.
local function begin(decision)
    decisions_of[request_key()] = decision
    local id = decision.id
    open[id] = (open[id] or 0) + 1
    requests[id] = (requests[id] or 0) + 1
end

-- For set_by_lua of the location of kept decisions, which costs no coroutine: the path for the container, and the headers in variables. Empty: berth has
-- to decide. LuaJIT compiles all of it: a loop or a pattern would prevent that.
function M.kept_path()
    local var = ngx.var
    local uri = var.request_uri
    local decision = kept_decision(uri, var.berth_key)
    local left = decision and decision.till - now() or 0
    -- One request renews a decision while the others use it: else all would ask when it ends.
    if left > RENEW_SECONDS or left > 0 and decision.renewing then
        local path = path_in(uri)
        if path then
            local value = decision.berth_authorization
            if value then var.berth_authorization = value end
            value = decision.berth_user_api_key
            if value then var.berth_user_api_key = value end
            value = decision.berth_cookie
            if value then var.berth_cookie = value end
            begin(decision)
            return path
        end
    end
    return ""
end

-- For access_by_lua of @berth_decided: asks berth, and leaves the address, the path and all headers in variables, or has berth's edge answer.
function M.decide()
    local var = ngx.var
    local uri = var.request_uri
    -- The location matches a normalized path; berth decides about the one that the client sent.
    if sub(uri, 1, #PREFIX) ~= PREFIX then return ngx.exec("@berth_edge") end
    -- Everything that a decision depends on; nil where it depends on more.
    local key = var.berth_key
    if byte(key, #key) ~= LINE_FEED then
        -- Only berth can end an open WebSocket when its user's session ends: it carries them.
        if (var.http_upgrade or "") ~= "" then return ngx.exec("@berth_edge") end
        key = nil
    end
    local decision = key and kept_decision(uri, key)
    if decision and decision.till - now() < RENEW_SECONDS then decision.renewing = true end
    local before = changes
    local status, headers = ask_about(var, uri)
    if not status then
        ngx.log(ngx.ERR, "berth does not answer: ", headers)
        return ngx.exec("@berth_away")
    end
    local upstream, path, id = headers["x-berth-upstream"], headers["x-berth-path"], headers["x-berth-container"]
    if status ~= 200 or headers["x-berth-status"] ~= "200" or not (upstream and path and id and #id == ID_LENGTH) then
        if key then forget(uri, key) end
        return ngx.exec("@berth_edge")
    end
    decision = { till = now() + KEEP_SECONDS, address = upstream, id = id }
    for carrier, name in pairs(EDITED) do
        local value = headers[carrier] or ""
        var[name] = value
        if KEPT[name] then
            decision[name] = value ~= "" and value or nil
        elseif not OF_REQUEST[name] and value ~= (OWN[name] and var[OWN[name]] or "") then
            key = nil
        end
    end
    for name in (headers["x-berth-vary"] or ""):gmatch("[^,%s]+") do
        if not SPECIAL[name] then key = nil end
    end
    var.berth_path = path
    begin(decision)
    -- A change that came meanwhile may be newer than this decision.
    if key == nil or #key > MAX_KEY or before ~= changes or path ~= path_in(uri) then return end
    keep(uri, key, decision)
end

-- For balancer_by_lua.
function M.balance()
    local ok, err = set_current_peer(decisions_of[request_key()].address)
    if not ok then
        ngx.log(ngx.ERR, "address not usable: ", err)
        return ngx.exit(500)
    end
end

-- For header_filter_by_lua. Removes cookies of berth's consoles that a container sets: browsers send a host's cookies to all its ports.
function M.response()
    local var = ngx.var
    if var.berth_response == "" then return end
    -- As the edge reads it: a container's other values are ignored.
    local value = var.upstream_http_x_berth_busy
    local seconds = value and match(value, BUSY)
    local decision = seconds and decisions_of[request_key()]
    if decision then busy[decision.id] = tonumber(seconds) end
    if not var.upstream_http_set_cookie then return end
    local cookies = ngx.header["Set-Cookie"]
    if type(cookies) ~= "table" then cookies = { cookies } end
    local left = {}
    for _, cookie in ipairs(cookies) do
        local name = match(cookie, "^[%s=]*([^%s=;]*)")
        if name ~= "berth-console" and name ~= "berth-registry" then left[#left + 1] = cookie end
    end
    ngx.header["Set-Cookie"] = left
end

-- For log_by_lua: the end of a request.
function M.log()
    local key = request_key()
    local decision = decisions_of[key]
    if decision then
        decisions_of[key] = nil
        local id = decision.id
        open[id] = (open[id] or 1) - 1
    end
end

-- Reports the open requests of each container, so that its idle stop waits for them.
local function report(premature)
    if premature then return end
    local list = {}
    for id, total in pairs(open) do
        local came = requests[id] or 0
        list[#list + 1] = id .. ":" .. total .. ":" .. came .. (busy[id] and (":" .. busy[id]) or "")
        requests[id], busy[id] = nil, nil
        if total == 0 then open[id] = nil end
    end
    for at = 1, #list, 500 do
        ask(question("/report?" .. concat(list, ",", at, math.min(at + 499, #list))), 5000)
    end
end

local function sweep()
    local at, left = now(), 0
    for place, decisions in pairs(kept) do
        for key, decision in pairs(decisions) do
            if decision.till <= at then decisions[key] = nil else left = left + 1 end
        end
        if not next(decisions) then kept[place] = nil end
    end
    count = left
end

-- Waits for changes: berth answers when there is one.
local function follow(premature)
    local source, at = "", "0"
    while not premature and not ngx.worker.exiting() do
        local status, _, body = ask(question("/changes?source=" .. source .. "&at=" .. at), 30000)
        if status == 200 then
            local ids
            source, at, ids = match(body, '"source":"([%w_-]+)","at":(%d+).-"ids":%[(.-)%]')
            if not source then source, at = "", "0" end
            if ids == nil or ids ~= "" or find(body, '"all":true', 1, true) then drop_all() end
        else
            drop_all()
            source, at = "", "0"
            ngx.sleep(0.5)
        end
    end
end

-- For init_by_lua: `host` and `port` of berth's listener, and the secret.
function M.configure(given)
    for name, value in pairs(given) do options[name] = value end
    set_current_peer = require("ngx.balancer").set_current_peer
end

-- For init_worker_by_lua.
function M.start()
    options.proxy = ngx.worker.pid() .. "." .. (ngx.worker.id() or 0)
    ngx.timer.at(0, follow)
    ngx.timer.every(REPORT_EVERY_SECONDS, report)
    ngx.timer.every(KEEP_SECONDS, sweep)
end

return M
