import { createServer } from "node:http";
import * as fc from "fast-check";
import t, { type Test } from "tap";
import { createHttp1 } from "../../gateway/http1/message-reader.ts";
import { readRequests } from "../gateway/http1/read-stream.ts";
import { exchange, openStand } from "../gateway/stand.ts";
import { listen } from "../fixtures/server.ts";
import { mutate } from "./mutate.ts";
import { numbers } from "./numbers.ts";
import { requestCases } from "./streams.ts";

const SEED = Number(process.env["FUZZ_SEED"] ?? 1);
const STREAMS = Number(process.env["FUZZ_STREAMS"] ?? 400);

/** Of a server: method, target and body of each request whose end it has seen. */
async function openRecorder(t: Test, path: string): Promise<string[][]> {
  const recorded: string[][] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("latin1").on("data", (text: string) => (body += text));
    request
      .on("error", () => undefined)
      .once("end", () => {
        recorded.push([request.method ?? "", request.url ?? "", body]);
        response.end("ok");
      });
  });
  await listen(t, server, { path });
  return recorded;
}

const LAST = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

t.test("through the whole engine too, a server sees just the requests that were decided on", async (t) => {
  // What is for no container goes to the control plane's socket, whatever its path.
  const stand = await openStand(t, { forwarder: "splice", limits: { lingeringCloseMs: 20 } });
  const recorded = await openRecorder(t, stand.apiSocket);
  const http1 = createHttp1({ underscoreHeaders: "drop" });
  let passed = 0;
  const next = numbers(SEED);
  const made = fc.sample(requestCases, { numRuns: STREAMS, seed: SEED }).map(({ stream }) => stream);
  for (const stream of made.flatMap((stream) => [stream, mutate(stream, next, made[next(made.length)] ?? "")])) {
    // Node answers an expectation by itself, and an upgrade is no request like others.
    if (/expect|websocket/i.test(stream)) continue;
    const whole = readRequests(http1, [Buffer.from(stream, "latin1")]).end;
    if (whole === "waits") continue;
    const bytes = Buffer.from(whole === "done" ? stream + LAST : stream, "latin1");
    const { messages, end } = readRequests(http1, [bytes], true);
    const wanted = messages.filter(({ complete }) => complete).map(({ method, target, body }) => [method, originForm(target), body]);
    recorded.length = 0;
    const came = await exchange(stand.port, bytes);
    const statuses = [...came.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => Number(status));
    const wantedStatuses = [...wanted.map(() => 200), ...(typeof end === "number" ? [end] : [])];
    if (JSON.stringify([recorded, statuses]) !== JSON.stringify([wanted, wantedStatuses]))
      t.same([recorded, statuses], [wanted, wantedStatuses], JSON.stringify(stream));
    passed += recorded.length;
  }
  t.ok(passed > STREAMS / 2, `${passed} requests passed`);
});

function originForm(target: string): string {
  return target.replace(/^https?:\/\/[^/?]*/i, "").replace(/^(?=\?|$)/, "/");
}
