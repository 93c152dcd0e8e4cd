-- Asks berth about requests to containers, for haproxy.cfg. Arguments: the address of BERTH_CALLOUT_PORT, and BERTH_CALLOUT_SECRET.
local callout, secret = ...

-- How long berth may hold a request until its container is ready, in milliseconds: longer than its proxyRequestTimeout.
local HOLD_MS = 330000
local REPORT_EVERY_MS = 1000
-- The seconds of an X-Berth-Busy: at most seven digits.
local BUSY = "^%d%d?%d?%d?%d?%d?%d?$"

-- The response header with the new value of each request header; without it the container gets no such header.
local EDITED = {
  ["authorization"] = "x-berth-authorization",
  ["cookie"] = "x-berth-cookie",
  ["x-user-api-key"] = "x-berth-user-api-key",
  ["x-forwarded-for"] = "x-berth-forwarded-for",
  ["x-forwarded-proto"] = "x-berth-forwarded-proto",
  ["x-forwarded-host"] = "x-berth-forwarded-host",
  ["x-real-ip"] = "x-berth-real-ip",
  ["forwarded"] = "x-berth-forwarded",
  ["traceparent"] = "x-berth-traceparent",
  ["tracestate"] = "x-berth-tracestate",
  ["x-request-id"] = "x-berth-request-id",
}

-- Not of the client for berth: lines of the connection, and names that only a proxy writes.
local NOT_SENT = {}
for _, name in ipairs({
  "host", "connection", "content-length", "transfer-encoding", "expect", "te", "trailer", "keep-alive", "proxy-connection", "upgrade", "accept-encoding",
  "x-original-method", "x-original-uri", "x-forwarded-method", "x-forwarded-uri", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
  "x-berth-callout-secret", "x-berth-proxy",
}) do NOT_SENT[name] = true end

local AWAY = '{"datagrok-error":"berth does not answer: try again in a few seconds. Operators: see the log of HAProxy."}'

local function first(headers, name)
  local values = headers[name]
  return values and (values[0] or values[1])
end

local function respond(txn, status, reason, headers, body)
  local reply = txn:reply({ status = status, reason = reason })
  for _, line in ipairs(headers) do reply:add_header(line[1], line[2]) end
  reply:set_body(body)
  txn:done(reply)
end

local busy = {}

core.register_action("berth_decide", { "http-req" }, function(txn)
  local headers = {
    ["host"] = { txn.sf:req_hdr("host") },
    ["x-berth-callout-secret"] = { secret },
    ["x-forwarded-method"] = { txn.sf:method() },
    ["x-forwarded-uri"] = { txn.sf:pathq() },
    ["x-forwarded-host"] = { txn.sf:req_hdr("host") },
    ["x-forwarded-for"] = { txn.sf:src() },
    ["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" },
  }
  for name, values in pairs(txn.http:req_get_headers()) do
    if not NOT_SENT[name] then
      local list = {}
      for at = 0, #values do list[#list + 1] = values[at] end
      headers[name] = list
    end
  end
  local answer = core.httpclient():get({ url = callout .. "/decide", headers = headers, timeout = HOLD_MS })
  local status = answer and answer.status
  local own = status and status > 0 and answer.headers and first(answer.headers, "x-berth-status")
  if not own then
    return respond(txn, 503, "Service Unavailable",
      { { "content-type", "application/json" }, { "retry-after", "5" }, { "cache-control", "no-store" } }, AWAY)
  end
  -- berth's edge answers it.
  if status == 421 then return end
  local host, port = (first(answer.headers, "x-berth-upstream") or ""):match("^%[?([^%]]-)%]?:(%d+)$")
  if status ~= 200 or own ~= "200" or not host then
    local lines = {}
    for name, values in pairs(answer.headers) do
      if name:sub(1, 8) ~= "x-berth-" and name ~= "content-length" and name ~= "connection" and name ~= "transfer-encoding" then
        for at = 0, #values do if values[at] then lines[#lines + 1] = { name, values[at] } end end
      end
    end
    return respond(txn, status == 200 and 503 or status, answer.reason, lines, answer.body or "")
  end
  for name, carrier in pairs(EDITED) do
    local value = first(answer.headers, carrier)
    if value then txn.http:req_set_header(name, value) else txn.http:req_del_header(name) end
  end
  txn:set_var("txn.berth_path", first(answer.headers, "x-berth-path"))
  txn:set_var("txn.berth_container", first(answer.headers, "x-berth-container"))
  txn:set_var("txn.berth_port", tonumber(port))
  txn:set_var("txn.berth_host", host)
end, 0)

-- Removes cookies of berth's consoles that a container sets: browsers send a host's cookies to all its ports.
core.register_action("berth_response", { "http-res" }, function(txn)
  local headers = txn.http:res_get_headers()
  -- As the edge reads it: a container's other values are ignored.
  local seconds = (first(headers, "x-berth-busy") or ""):match(BUSY)
  if seconds then busy[txn:get_var("txn.berth_container")] = tonumber(seconds) end
  local cookies = headers["set-cookie"]
  if not cookies then return end
  txn.http:res_del_header("set-cookie")
  for at = 0, #cookies do
    local name = cookies[at]:match("^[%s=]*([^%s=;]*)")
    if name ~= "berth-console" and name ~= "berth-registry" then txn.http:res_add_header("set-cookie", cookies[at]) end
  end
end, 0)

-- Reports the open requests of each container, so that its idle stop waits for them.
core.register_task(function()
  local counted, open_before = {}, {}
  while true do
    core.msleep(REPORT_EVERY_MS)
    local list, open_now = {}, {}
    for id, row in pairs(core.proxies["berth_open"].stktable:dump()) do
      local open, total = row.conn_cur or 0, row.conn_cnt or 0
      local requests = math.max(0, total - (counted[id] or 0))
      if open > 0 or requests > 0 or open_before[id] or busy[id] then
        list[#list + 1] = id .. ":" .. open .. ":" .. requests .. (busy[id] and (":" .. busy[id]) or "")
        counted[id], busy[id] = total, nil
        open_now[id] = open > 0 or nil
      end
    end
    for at = 1, #list, 500 do
      local url = callout .. "/report?" .. table.concat(list, ",", at, math.min(at + 499, #list))
      pcall(function()
        core.httpclient():get({ url = url, headers = { ["x-berth-callout-secret"] = { secret } }, timeout = 5000 })
      end)
    end
    open_before = open_now
  end
end)
