import t from "tap";
import { systemClock } from "../../../../lib/clock.ts";
import { openUpstream } from "../../../../gateway/registry/upstream/open-upstream.ts";
import { openLog } from "../../../../lib/log.ts";
import { openRecorder, openStand } from "../stand.ts";
import { denied, openEcr } from "./moto.ts";
import { htpasswd, openDistribution } from "./distribution.ts";
import { signal } from "./pushed.ts";

const PUSH = { method: "POST", scopes: ["repository:datagrok/x:pull,push"] };
const settings = { url: undefined, username: undefined, password: undefined, ecrMode: true, awsRegion: "eu-west-1" };
const tools = () => ({ clock: systemClock(), log: openLog({ level: "silent", name: "test" }), signal: signal() });

t.test("a push through the proxy makes its repository in ECR first", async (t) => {
  const registry = await openDistribution(t, htpasswd);
  const ecr = await openEcr(t, { registry: registry.host });
  const upstream = await openUpstream(settings, tools());
  t.teardown(() => upstream.close());
  const stand = await openStand(t, { port: 0 }, { upstream });
  t.equal((await stand.call("/v2/datagrok/x/blobs/uploads/", PUSH)).status, 202);
  t.strictSame(ecr.actions(), ["GetAuthorizationToken", "CreateRepository"]);
});

t.test("where the role may not make it and it is missing, the client reads which right that takes", async (t) => {
  // As ECR answers a push to what it does not have.
  const missing = JSON.stringify({
    errors: [{ code: "NAME_UNKNOWN", message: "The repository with name 'datagrok/x' does not exist in the registry" }],
  });
  const registry = await openRecorder(t, (_, response) => void response.writeHead(404, { "content-type": "application/json" }).end(missing));
  const ecr = await openEcr(t, { registry: `127.0.0.1:${registry.port}` });
  ecr.answers = ({ action }) => (action === "CreateRepository" ? denied(action) : undefined);
  const upstream = await openUpstream(settings, tools());
  t.teardown(() => upstream.close());
  const stand = await openStand(t, { port: 0 }, { upstream });
  const answer = await stand.call("/v2/datagrok/x/blobs/uploads/", PUSH);
  t.equal(answer.status, 404);
  const { errors } = (await answer.json()) as { errors: { code: string; message: string }[] };
  t.equal(errors[0]?.code, "NAME_UNKNOWN");
  t.match(errors[0]?.message, /ecr:CreateRepository/);
  t.equal(registry.requests.length, 1, "the push was let go on first");

  await t.test("other things that are missing are what the registry says", async (t) => {
    t.equal((await stand.call("/v2/datagrok/x/manifests/1")).status, 404);
  });
});
