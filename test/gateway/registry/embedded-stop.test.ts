import { once } from "node:events";
import { request } from "node:http";
import { connect } from "node:net";
import t from "tap";

import { distributions, openOwn } from "./own-registry.ts";
import { digestOf } from "./registry-client.ts";
import { eventually } from "../../fixtures/eventually.ts";

t.test("a layer that is being pushed when berth stops is received to its end", async (t) => {
  const { berth, base, token, data } = await openOwn(t, { BERTH_DRAIN_SECONDS: "20" });
  const layer = "x".repeat(1_000_000);
  const authorization = `Bearer ${await token(["repository:datagrok/a:pull,push"])}`;
  const begun = await fetch(`${base}/v2/datagrok/a/blobs/uploads/`, { method: "POST", headers: { authorization } });
  const at = new URL(begun.headers.get("location") ?? "", base);
  at.searchParams.set("digest", digestOf(layer));
  const put = request(at, { method: "PUT", headers: { authorization, "content-length": layer.length }, agent: false });
  const answer = once(put, "response") as Promise<[{ statusCode: number; resume(): void }]>;
  await new Promise((go) => put.write(layer.slice(0, 500_000), go));
  const stopped = berth.stop();
  // No new client is accepted by then.
  await eventually("the registry to be closed", () => refused(new URL(base)));
  put.end(layer.slice(500_000));
  const [{ statusCode }] = await answer;
  t.equal(statusCode, 201);
  await stopped;
  t.same(distributions(data), []);
});

t.test("a Distribution that does not end by itself is not left behind", { timeout: 90_000 }, async (t) => {
  const { berth, data } = await openOwn(t, { BERTH_DRAIN_SECONDS: "1" });
  const [pid = 0] = distributions(data);
  process.kill(pid, "SIGSTOP");
  await berth.stop();
  t.same(distributions(data), []);
});

function refused({ hostname, port }: URL): Promise<true | undefined> {
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    socket.once("connect", () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once("error", () => resolve(true));
  });
}
