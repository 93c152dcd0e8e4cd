// Amazon ECR as far as moto can, with a layer before it that answers what moto cannot: denials, throttling and times of expiry, each in the shape
// that the ECR API reference gives for it (JSON 1.1: HTTP 400 with `__type` and `message`; GetAuthorizationToken's authorizationData).
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import type { Test } from "tap";
import { LOGIN } from "./distribution.ts";
import { eventually } from "../../../fixtures/eventually.ts";
import { freePort, listen } from "../../../fixtures/server.ts";

type Answer = { status: number; body: Record<string, unknown> };
type MotoRequest = { action: string; body: Record<string, unknown> };

export const denied = (action: string): Answer => ({
  status: 400,
  body: {
    __type: "AccessDeniedException",
    message: `User: arn:aws:sts::123456789012:assumed-role/berth is not authorized to perform: ecr:${action}`,
  },
});
export const throttled: Answer = { status: 400, body: { __type: "ThrottlingException", message: "Rate exceeded" } };

/** `answers` stands before moto: undefined lets the question through to it. Tokens open the registry at `registry`. */
export async function openEcr(t: Test, options: { registry?: string; hours?: number } = {}) {
  const moto = await openMoto(t);
  const requests: MotoRequest[] = [];
  const stand = {
    motoRequest: requests,
    hours: options.hours ?? 12,
    answers: (() => undefined) as (motoRequest: MotoRequest) => Answer | undefined,
    url: "",
    actions: () => requests.map(({ action }) => action),
  };
  const server = createServer(async (incoming, response) => {
    const sent = await text(incoming);
    const action = String(incoming.headers["x-amz-target"] ?? "").split(".")[1] ?? "";
    const question = { action, body: JSON.parse(sent || "{}") as Record<string, unknown> };
    requests.push(question);
    const say = ({ status, body }: Answer) => response.writeHead(status, { "content-type": "application/x-amz-json-1.1" }).end(JSON.stringify(body));
    const own = stand.answers(question);
    if (own) return say(own);
    // moto's token opens nothing and ran out in 2015.
    if (action === "GetAuthorizationToken") {
      const authorizationToken = Buffer.from(`${LOGIN.username}:${LOGIN.password}`).toString("base64");
      const proxyEndpoint = `http://${options.registry ?? "123456789012.dkr.ecr.eu-west-1.amazonaws.com"}`;
      return say({
        status: 200,
        body: { authorizationData: [{ authorizationToken, expiresAt: Date.now() / 1_000 + stand.hours * 3_600, proxyEndpoint }] },
      });
    }
    const { host: _, ...headers } = incoming.headers;
    const passed = request({ host: "127.0.0.1", port: moto, method: incoming.method, path: incoming.url, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    passed.end(sent);
  });
  const { port: ownPort } = await listen(t, server);
  stand.url = `http://127.0.0.1:${ownPort}`;
  // As an operator of a test stand would; the client reads them itself.
  const before = { ...process.env };
  t.teardown(() => Object.assign(process.env, before));
  Object.assign(process.env, { AWS_ENDPOINT_URL: stand.url, AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test" });
  return stand;
}

/** It takes no port 0 that it would name, so it is given one that was free just before. */
export async function openMoto(t: Test, host = "127.0.0.1"): Promise<number> {
  const port = await freePort();
  const child = spawn("/usr/bin/python3", ["/usr/bin/moto_server", "-H", host, "-p", String(port)], { stdio: "ignore" });
  t.teardown(async () => {
    const ended = once(child, "exit");
    if (child.exitCode === null && child.kill()) await ended;
  });
  await eventually("moto listens", async () => {
    const socket = connect({ host, port });
    const accepted = await Promise.race([once(socket, "connect").then(() => true), once(socket, "error").then(() => false)]).catch(() => false);
    socket.destroy();
    return accepted;
  });
  return port;
}
