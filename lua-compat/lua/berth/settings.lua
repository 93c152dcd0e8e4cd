-- What grok_registry_proxy's variables say, read once when nginx starts. registry-main.conf lets nginx keep them.

local M = {}

local function flag(name, default)
    local value = (os.getenv(name) or ""):lower()
    if value == "" then return default end
    return value == "on" or value == "true" or value == "yes" or value == "1"
end

-- Without a scheme it is https, but http for the machine itself and for port 5000, as berth reads it.
local function address(given)
    if not given:match("^https?://") then
        local host = given:match("^([^/:]+)")
        local own = host == "localhost" or (host or ""):match("^127%.")
        given = ((own or given:match("^[^/]+:5000")) and "http://" or "https://") .. given
    end
    local scheme, host, path = given:match("^(https?)://([^/]+)(.*)$")
    path = path:gsub("/+$", ""):gsub("/v[12]$", "")
    return { scheme = scheme, host = host, path = path, base = scheme .. "://" .. host .. path }
end

M.datagrok = (os.getenv("DATAGROK_URL") or "http://datagrok:8080/api"):gsub("/+$", "")
M.datagrok_host = M.datagrok:match("^https?://([^/]+)") or ""
M.registry = address(os.getenv("REGISTRY_URL") or "127.0.0.1:5001")
M.issuer = os.getenv("DATAGROK_ISSUER")
M.username = os.getenv("REGISTRY_USERNAME")
M.password = os.getenv("REGISTRY_PASSWORD")
-- Written by `berth registry-proxy` beside this nginx, for ECR and for registries with tokens of their own.
M.token_file = os.getenv("BERTH_REGISTRY_TOKEN_FILE")
M.anonymous_pull = flag("BERTH_REGISTRY_ANONYMOUS_PULL", true)
-- The service in token requests: the audience of tokens.
M.service = os.getenv("BERTH_REGISTRY_SERVICE") or "docker-registry"

return M
