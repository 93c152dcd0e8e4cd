-- wrk's load: each request with another key, to another container. Arguments: folder method path first last body-bytes header-bytes prefix
local requests, count, at = {}, 0, 0

local function lines(file)
  local found = {}
  for line in io.lines(file) do found[#found + 1] = line end
  return found
end

function init(args)
  local folder, method, path, first, last, bytes = args[1], args[2], args[3], tonumber(args[4]), tonumber(args[5]), tonumber(args[6])
  local headerbytes, prefix = tonumber(args[7]), args[8]
  local keys, ids = lines(folder .. "/keys.txt"), lines(folder .. "/ids.txt")
  local body = bytes > 0 and string.rep("x", bytes) or nil
  -- A request with a large body is kept a hundred times at most. Without one, every key and every container has its turn.
  local most = body and 100 or math.max(1000, #keys, last - first)
  -- Lines of 128 bytes.
  local further = {}
  for index = 1, headerbytes / 128 do
    local name = string.format("X-Further-%03d", index)
    further[name] = string.rep("v", 128 - #name - 4)
  end
  for index = 0, most - 1 do
    local id = ids[first + 1 + (index * 7) % (last - first)]
    local target = prefix == "" and path or prefix .. id .. path
    local headers = { Host = "stand.example", Authorization = keys[1 + (index * 13) % #keys] }
    for name, value in pairs(further) do headers[name] = value end
    requests[#requests + 1] = wrk.format(method, target, headers, body)
  end
  count = #requests
end

function request()
  at = at % count + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"bytes":%d,"us":%d,"p50":%.1f,"p99":%.1f,"failed":%d,"statuses":%d}\n',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout, errors.status
  ))
end
