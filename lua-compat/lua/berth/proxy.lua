-- The registry proxy: challenges, tokens, and who may write.

local answers = require "berth.answers"
local credential = require "berth.credential"
local paths = require "berth.paths"
local settings = require "berth.settings"
local tokens = require "berth.tokens"

local M = {}

local SIGN_IN = "Sign in first: docker login, with a developer key as the password"

local ACTIONS = { GET = "pull", HEAD = "pull", POST = "pull,push", PUT = "pull,push", PATCH = "pull,push", DELETE = "delete" }
local WORDS = { pull = "pull", push = "push to", delete = "delete from" }

-- Who gives up an upload deletes nothing.
local function actions_of(what, method)
    if what.kind == "upload" and method == "DELETE" then return "pull,push" end
    return ACTIONS[method]
end

-- The repository that a layer is mounted from; false for what two readers could read in two ways.
local function mounted_from(what)
    if what.kind ~= "uploads" then return nil end
    local query = ngx.var.args or ""
    local from = ngx.req.get_uri_args(100).from
    if from == nil and not query:find(";", 1, true) then return nil end
    if type(from) ~= "string" or query:find(";", 1, true) or not paths.is_repository(from) then return false end
    return from
end

-- Whether the request may go on; if not, it was answered.
local function permitted(needs, scope)
    local given = ngx.var.http_authorization
    if not given then return answers.challenge("UNAUTHORIZED", SIGN_IN, scope) end
    local token = given:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +([^%s,]+)$")
    local granted, why
    if token then granted, why = tokens.verify(token) else why = "Only a token of this registry is accepted here" end
    if not granted then return answers.challenge("UNAUTHORIZED", why, scope, "invalid_token") end
    for _, need in ipairs(needs) do
        if not tokens.allows(granted, need.repository, need.action) then
            return answers.challenge("DENIED", "You may not " .. WORDS[need.action] .. " " .. need.repository, scope, "insufficient_scope")
        end
    end
    return true
end

-- For access_by_lua of /v2/.
function M.access()
    local target = ngx.var.request_uri
    local method = ngx.req.get_method()
    local what = paths.read(target:match("^[^?]*"))
    if not what then return M.elsewhere() end
    if what.kind == "base" then
        if permitted({}, "") then return answers.empty() end
        return
    end
    local actions = actions_of(what, method)
    if not actions then return answers.refuse(405, "UNSUPPORTED", "A registry has no method " .. method) end
    local from = mounted_from(what)
    if from == false then return answers.refuse(400, "UNSUPPORTED", "The repository to mount a layer from is not one name") end

    local reads = actions == "pull"
    if what.kind == "catalog" then
        if not permitted({}, "registry:catalog:*") then return end
    elseif not (reads and settings.anonymous_pull) then
        local needs = { { repository = what.repository, action = actions:match("push") or actions } }
        local scope = "repository:" .. what.repository .. ":" .. actions
        if from then
            needs[2] = { repository = from, action = "pull" }
            scope = scope .. " repository:" .. from .. ":pull"
        end
        if not permitted(needs, scope) then return end
    end

    ngx.var.berth_authorization = credential.authorization(what.repository and ("repository:" .. what.repository .. ":" .. actions) or "-")
    ngx.var.berth_target = settings.registry.base .. target
    ngx.ctx.seen = answers.seen_by_client()
end

local function is_pull_only(scopes)
    for _, text in ipairs(scopes) do
        for scope in text:gmatch("[^ ]+") do
            -- The class of a repository, `repository(plugin)`, says nothing of who may.
            local actions = scope:gsub("^repository%([^()]*%):", "repository:"):match("^repository:.+:([^:]*)$")
            if not actions or actions ~= "" and (actions .. ","):gsub("pull,", "") ~= "" then return false end
        end
    end
    return true
end

-- For access_by_lua of /token: with a key it goes to {DATAGROK_URL}/docker/token; without one, pulling is granted here.
function M.token()
    local method = ngx.req.get_method()
    if method ~= "GET" and method ~= "POST" then return answers.refuse(405, "UNSUPPORTED", "Request a token by GET or POST") end
    local given = ngx.req.get_uri_args(100)
    if method == "POST" or (ngx.var.http_authorization or ""):match("^[Bb][Aa][Ss][Ii][Cc] ") then
        local query = ngx.var.args
        -- A token that is for no registry would be for none: who does not say which one means this. A form may say another in its body.
        if not given.service or given.service == "" or given.service == true then
            given.service = settings.service
            query = ngx.encode_args(given)
        end
        ngx.var.berth_target = settings.datagrok .. "/docker/token?" .. query
        return
    end
    local scopes = given.scope or {}
    if type(scopes) ~= "table" then scopes = { scopes } end
    if settings.anonymous_pull and is_pull_only(scopes) then return answers.anonymous_token() end
    return answers.refuse(401, "UNAUTHORIZED", SIGN_IN)
end

function M.elsewhere()
    return answers.refuse(404, "NAME_INVALID", "There is no such path in a registry, or the repository's name is not valid")
end

-- For what those behind did not do.
function M.key_invalid()
    return answers.refuse(401, "UNAUTHORIZED", "The developer key is not valid: it is the password of docker login")
end

function M.refused()
    return answers.refuse(403, "DENIED", "The backing registry refused the credential, or has no such repository; its administrator can tell")
end

function M.away()
    return answers.refuse(502, "UNAVAILABLE", "The backing registry cannot be reached")
end

function M.late()
    return answers.refuse(504, "UNAVAILABLE", "The backing registry did not answer in time")
end

return M
