import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { RequestListener } from "node:http";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import t, { type Test } from "tap";
import WebSocket, { WebSocketServer } from "ws";
import { ENGINE_NAMES, type EngineName } from "../../gateway/connections/engine.ts";
import { makeCertificate } from "../fixtures/certificates.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { bodyOf, echoHead, exchange, get, ID, openContainer, openRawContainer, openStand, PATH } from "./stand.ts";
import { freePort, listen } from "../fixtures/server.ts";

const made = tempFolder(t);
const TRUSTED = makeCertificate(made, "trusted");
const FOREIGN = makeCertificate(made, "foreign");
setDefaultCACertificates([...getCACertificates("default"), TRUSTED.cert]);

type ForwardedRequest = { url: string; method: string; headers: Record<string, string> };

function seenIn(answer: string): ForwardedRequest {
  const { url, method, rawHeaders } = JSON.parse(answer.slice(answer.indexOf("{"), answer.lastIndexOf("}") + 1)) as {
    url: string;
    method: string;
    rawHeaders: string[];
  };
  const headers: Record<string, string> = {};
  for (let at = 0; at < rawHeaders.length; at += 2) headers[(rawHeaders[at] ?? "").toLowerCase()] = rawHeaders[at + 1] ?? "";
  return { url, method, headers };
}

/** A Datagrok server that speaks TLS, and a gateway in front of it. */
async function openSecured(t: Test, forwarder: EngineName, listener: RequestListener, more: { pair?: typeof TRUSTED; host?: string } = {}) {
  const server = createSecureServer(more.pair ?? TRUSTED, listener);
  const { port } = await listen(t, server);
  const stand = await openStand(t, { forwarder, datagrok: { url: `https://${more.host ?? "localhost"}:${port}/api`, keepHost: false } });
  return { ...stand, server };
}

for (const forwarder of ENGINE_NAMES) {
  t.test(`${forwarder}: what is for no container goes to the Datagrok server, below the path of its API`, async (t) => {
    const server = createServer(echoHead);
    const { port } = await listen(t, server);
    const stand = await openStand(t, { forwarder, datagrok: { url: `http://127.0.0.1:${port}/grok/api`, keepHost: false } });
    for (const [sent, path] of [
      ["/api/users/current?a=%20b", "/grok/api/users/current?a=%20b"],
      ["/", "/grok/"],
      ["/api/docker/containers", "/grok/api/docker/containers"],
      ["//api/../x", "/grok//api/../x"],
    ] as const) {
      const forwarded = seenIn(await exchange(stand.port, get(sent, ["X-Forwarded-Host: evil.example"])));
      t.equal(forwarded.url, path);
      t.match(forwarded.headers, {
        host: `127.0.0.1:${port}`,
        "x-forwarded-host": "stand.example",
        "x-forwarded-for": "127.0.0.1",
        authorization: "token",
      });
      t.notOk("x-berth-client" in forwarded.headers);
      t.notOk("x-user-api-key" in forwarded.headers, "who calls is for that server to find out");
    }
    const { address } = await openContainer(t, (_request, response) => response.end("container"));
    stand.set(ID, { kind: "awake", address });
    t.match(await exchange(stand.port, get(PATH)), /container$/);
  });

  t.test(`${forwarder}: the Host that the client sent, if a setting says so`, async (t) => {
    const { port } = await listen(t, createServer(echoHead));
    const stand = await openStand(t, { forwarder, datagrok: { url: `http://127.0.0.1:${port}/api`, keepHost: true } });
    t.equal(seenIn(await exchange(stand.port, get("/api/x"))).headers["host"], "stand.example");
  });

  t.test(`${forwarder}: over TLS, whose certificate is looked at; connections are used again`, async (t) => {
    const ports = new Set<number | undefined>();
    const { port } = await openSecured(t, forwarder, (request, response) => {
      ports.add(request.socket.remotePort);
      void bodyOf(request).then((body) => response.end(`${request.method} ${body.length}`));
    });
    const body = Buffer.alloc(300_000, "x");
    for (let time = 0; time < 3; time++) {
      const answer = await fetch(`http://127.0.0.1:${port}/api/packages/dev/x`, { method: "POST", body });
      t.equal(await answer.text(), "POST 300000");
    }
    t.equal(ports.size, 1);
  });

  t.test(`${forwarder}: a certificate's address counts where the server is named by it`, async (t) => {
    const { port } = await openSecured(t, forwarder, (_request, response) => response.end("here"), { host: "127.0.0.1" });
    t.equal(await (await fetch(`http://127.0.0.1:${port}/api/x`)).text(), "here");
  });

  t.test(`${forwarder}: a server with an untrusted certificate gets no request`, async (t) => {
    let requests = 0;
    const { port } = await openSecured(t, forwarder, (_request, response) => void response.end(String(requests++)), { pair: FOREIGN });
    const answer = await fetch(`http://127.0.0.1:${port}/api/x`, { headers: { authorization: "token" } });
    t.equal(answer.status, 503);
    t.match(await answer.json(), { "#type": "ApiError", message: /SELF_SIGNED/ });
    t.equal(requests, 0);
  });

  t.test(`${forwarder}: a WebSocket to the server passes through`, async (t) => {
    const { port, server } = await openSecured(t, forwarder, echoHead);
    const sockets = new WebSocketServer({ server });
    sockets.on("connection", (socket, { url }) => {
      socket.send(String(url));
      socket.on("message", (data) => socket.send(data));
    });
    const client = new WebSocket(`ws://127.0.0.1:${port}/api/events?x=1`);
    t.teardown(() => client.terminate());
    const received: string[] = [];
    await new Promise<void>((resolve, reject) => {
      client.on("message", (data: Buffer) => {
        received.push(data.toString());
        if (received.length === 1) client.send("back");
        else resolve();
      });
      client.once("error", reject);
    });
    t.same(received, ["/api/events?x=1", "back"]);
  });

  t.test(`${forwarder}: a server that is away, or breaks off, is named in the answer`, async (t) => {
    const port = await freePort();
    const away = await openStand(t, { forwarder, datagrok: { url: `http://127.0.0.1:${port}/api`, keepHost: false } });
    const refused = await fetch(`${away.base}/api/x`);
    t.equal(refused.status, 503);
    t.equal(refused.headers.get("retry-after"), "1");
    t.match(await refused.json(), { "#type": "ApiError", message: /Datagrok server.*ECONNREFUSED/ });

    const raw = await openRawContainer(t, (socket) => socket.once("data", () => socket.destroy()));
    const broken = await openStand(t, { forwarder, datagrok: { url: `http://127.0.0.1:${raw.port}/api`, keepHost: false } });
    const answer = await fetch(`${broken.base}/api/x`, { method: "POST", body: "x" });
    t.equal(answer.status, 502);
    t.match(await answer.json(), { message: /Datagrok server closed the connection/ });
  });
}

t.test("which target a URL leads to", async (t) => {
  const { datagrokBackend } = await import("../../gateway/api-backend.ts");
  for (const [url, target, path] of [
    ["https://stand.example/api", { host: "stand.example", port: 443, tls: { servername: "stand.example" } }, "/api/x"],
    ["https://stand.example/api/", { host: "stand.example", port: 443, tls: { servername: "stand.example" } }, "/api/x"],
    ["http://[::1]:8082", { host: "::1", port: 8082 }, "/api/x"],
    ["https://10.0.0.1:8443/a/b/api", { host: "10.0.0.1", port: 8443, tls: { servername: "" } }, "/a/b/api/x"],
  ] as const) {
    const behind = datagrokBackend({ url, keepHost: false });
    t.same(behind.openLease().target(), target);
    t.equal(behind.pathOf("/api/x"), path);
    t.equal(behind.pathOf("*"), "*");
  }
});
