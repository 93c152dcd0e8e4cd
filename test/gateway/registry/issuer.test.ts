import { systemClock } from "../../../lib/clock.ts";
import t from "tap";
import { datagrokIdentity } from "../../../gateway/api-backend.ts";
import { ADMIN_KEY, startBerth } from "../../fixtures/berth.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { basic, openRecorder, openStand } from "./stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

t.test("the proxy takes tokens of a Datagrok server that names itself by the request's address, at every address of the proxy", async (t) => {
  // Another berth, or any server that believes the load balancer before it.
  const server = await openRecorder(t);
  const identity = datagrokIdentity(`http://127.0.0.1:${server.port}/api`, systemClock());
  t.teardown(identity.close);
  const { call } = await openStand(t, await openRecorder(t), { identity, trusted: ["loopback"] });
  const origin = {
    "x-forwarded-host": "registry.example",
    "x-forwarded-proto": "https",
    "x-forwarded-port": "443",
    forwarded: "host=registry.example;proto=https",
  };
  await call("/token?service=x", { headers: { authorization: basic("key"), "x-forwarded-for": "192.0.2.7", ...origin } });
  const [received] = server.requests;
  t.equal(received?.headers.host, `127.0.0.1:${server.port}`);
  for (const name of Object.keys(origin)) t.notOk(received?.headers[name], name);
  t.match(received?.headers["x-forwarded-for"], /^192\.0\.2\.7, /, "the client's address is passed on");
});

t.test("a token of berth's own API is taken by its registry proxy, by whatever address it was had", async (t) => {
  const registry = await openRecorder(t);
  const env = { BERTH_DRIVER: "process", REGISTRY_URL: `127.0.0.1:${registry.port}`, BERTH_REGISTRY_PORT: "0" };
  const berth = await startBerth({ data: tempFolder(t), env });
  t.teardown(() => berth.stop());
  const base = await eventually("the registry's address", async () => /registry proxy at (\S+)/.exec(berth.output())?.[1]);
  for (const from of [`${berth.api}/docker/token`, `${base}/token`]) {
    const query = "?service=docker-registry&scope=repository:datagrok/a:pull,push";
    const answer = await fetch(from + query, { headers: { authorization: basic(ADMIN_KEY) } });
    const { token } = (await answer.json()) as { token: string };
    const begun = await fetch(`${base}/v2/datagrok/a/blobs/uploads/`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
    t.equal(begun.status, 200, from);
  }
});
