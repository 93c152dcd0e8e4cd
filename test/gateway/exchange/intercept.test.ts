import type { AddressInfo } from "node:net";
import t, { type Test } from "tap";
import { systemClock } from "../../../lib/clock.ts";
import { createConnectionLimits } from "../../../lib/connection-limits.ts";
import type { DirectResponse, Forward, Interception, Lease, ResponseHeadView, ForwardTarget } from "../../../gateway/decision.ts";
import { openTestConnections } from "../../fixtures/connections.ts";
import { openSpliceEngine } from "../../../gateway/exchange/open-splice-engine.ts";
import { DEFAULT_LIMITS } from "../../fixtures/gateway-limits.ts";
import { openLog } from "../../../lib/log.ts";
import { openMetrics } from "../../../lib/metrics/open-metrics.ts";
import { bodyOf, exchange, openContainer } from "../stand.ts";

const REFUSAL: DirectResponse = { status: 502, reason: "Bad Gateway", headers: [["Content-Length", "0"]], body: "" };
let released = 0;

function leaseOf(target: ForwardTarget): Lease {
  return {
    owner: "",
    target: () => target,
    replaceTarget: () => Promise.resolve(target),
    onTargetGone: () => () => undefined,
    countBytes: () => undefined,
    release: () => void released++,
  };
}

function forwardOf(path: string, again?: (received: ResponseHeadView) => Interception | Promise<Interception> | undefined): Forward {
  return {
    target: path,
    headTimeoutMs: 5_000,
    request: { remove: [], add: [] },
    response: () => ({ remove: [], add: [] }),
    respondTo: () => REFUSAL,
    ...(again === undefined ? {} : { intercept: again }),
  };
}

async function openEdge(t: Test, forward: Forward, target: ForwardTarget): Promise<number> {
  const engine = openSpliceEngine({
    decide: () => ({ kind: "forward", forward, lease: leaseOf(target) }),
    limits: DEFAULT_LIMITS,
    connections: openTestConnections(),
    tls: undefined,
    bounds: createConnectionLimits({ perAddress: 100, total: 100, clock: systemClock(), log: openLog({ level: "silent", name: "test" }) }),
    watch: { over: () => undefined, keepsHeads: false, keepsTargets: false },
    counts: openMetrics(),
    clock: systemClock(),
    log: openLog({ level: "silent", name: "test" }),
  });
  await new Promise<void>((resolve) => void engine.server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => engine.close());
  return (engine.server.address() as AddressInfo).port;
}

const ask = (method: string, body = "") =>
  `${method} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${body === "" ? "" : `Content-Length: ${body.length}\r\n`}\r\n${body}`;

t.test("a rejected answer is requested once more, elsewhere, and the client sees that one only", async (t) => {
  const heads: string[] = [];
  const { address: first } = await openContainer(t, (request, response) => {
    heads.push(`first ${request.url}`);
    response.writeHead(401).end("a rejected body");
  });
  const { address: second } = await openContainer(t, (request, response) => {
    heads.push(`second ${request.url}`);
    response.end("wanted");
  });
  const again = (received: ResponseHeadView) =>
    received.status === 401 ? Promise.resolve({ forward: forwardOf("/again"), lease: leaseOf(second) }) : undefined;
  released = 0;
  const answer = await exchange(await openEdge(t, forwardOf("/", again), first), ask("GET"));
  t.match(answer, /^HTTP\/1\.1 200 OK\r\n[^]*wanted$/);
  t.notMatch(answer, /rejected body/);
  t.same(heads, ["first /", "second /again"]);
  t.equal(released, 2);
});

t.test("a request whose body was sent is not sent again", async (t) => {
  let requests = 0;
  const { address } = await openContainer(t, async (request, response) => {
    await bodyOf(request);
    requests++;
    response.writeHead(401).end("refused");
  });
  const again = () => ({ forward: forwardOf("/again"), lease: leaseOf(address) });
  t.match(await exchange(await openEdge(t, forwardOf("/", again), address), ask("POST", "body")), /^HTTP\/1\.1 401 /);
  t.equal(requests, 1);
});

t.test("who never has enough is answered in the end", async (t) => {
  let requests = 0;
  const { address } = await openContainer(t, (_, response) => void response.writeHead(401).end(String(++requests)));
  const again = (): Interception => ({ forward: forwardOf("/", again), lease: leaseOf(address) });
  t.match(await exchange(await openEdge(t, forwardOf("/", again), address), ask("GET")), /^HTTP\/1\.1 401 /);
  t.equal(requests, 5);
});

t.test("an answer of one's own may stand in for a container's, also where the question about it fails", async (t) => {
  const { address } = await openContainer(t, (_, response) => void response.writeHead(307).end());
  const own: DirectResponse = { status: 418, reason: "Teapot", headers: [["Content-Length", "0"]], body: "" };
  t.match(
    await exchange(
      await openEdge(
        t,
        forwardOf("/", () => ({ answer: own })),
        address,
      ),
      ask("GET"),
    ),
    /^HTTP\/1\.1 418 /,
  );
  const failing = forwardOf("/", () => Promise.reject(new Error("no credential")));
  t.match(await exchange(await openEdge(t, failing, address), ask("GET")), /^HTTP\/1\.1 502 /);
});

t.test("a line that cannot be written fails its own request only, wherever the wait for it was", async (t) => {
  const { address } = await openContainer(t, (_, response) => void response.writeHead(401).end());
  const unfit: Forward = { ...forwardOf("/"), request: { remove: [], add: [["Authorization", "Bearer a\r\nX: y"]] } };
  const late = { ...leaseOf(address), target: () => Promise.resolve(address) };
  const again = () => Promise.resolve({ forward: unfit, lease: late });
  t.match(await exchange(await openEdge(t, forwardOf("/", again), address), ask("GET")), /^HTTP\/1\.1 502 /);
  t.match(await exchange(await openEdge(t, unfit, address), ask("GET")), /^HTTP\/1\.1 502 /);
});
