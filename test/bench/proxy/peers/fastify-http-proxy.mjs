import Fastify from "fastify";
import httpProxy from "@fastify/http-proxy";
import { decide, port, PREFIX } from "./same-work.mjs";

const app = Fastify({ keepAliveTimeout: 600_000, bodyLimit: Number.MAX_SAFE_INTEGER, requestTimeout: 0 });
const forwarded = (request, headers) => ({
  ...headers,
  "x-forwarded-for": request.ip,
  "x-forwarded-proto": request.protocol,
  "x-forwarded-host": request.host,
  "x-user-api-key": request.decision.token,
});
app.decorateRequest("decision", null);
app.register(httpProxy, {
  upstream: "",
  prefix: `${PREFIX}:id`,
  rewritePrefix: "/",
  websocket: true,
  preHandler: (request, reply, done) => {
    request.decision = decide(request.raw.url, request.headers.authorization);
    if (request.decision.status !== undefined) return void reply.code(request.decision.status).send("");
    done();
  },
  replyOptions: {
    getUpstream: (request) => request.decision.target,
    rewriteRequestHeaders: (request, headers) => forwarded(request, headers),
  },
  wsClientOptions: { rewriteRequestHeaders: (headers, request) => forwarded(request, headers ?? {}) },
});
await app.listen({ port: Number(port), host: "127.0.0.1", backlog: 4_096 });
