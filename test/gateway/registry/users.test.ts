import t from "tap";
import { startBerth } from "../../fixtures/berth.ts";
import { scrape, total } from "../../fixtures/metrics-page.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openDistribution } from "./distribution.ts";
import { imageFolder } from "./image-folder.ts";
import { run } from "./run.ts";
import { eventually } from "../../fixtures/eventually.ts";

const COPY = ["--insecure-policy", "copy", "--dest-tls-verify=false"];

t.test("who is no administrator pushes what is hers, and not what another has published", async (t) => {
  const registry = await openDistribution(t);
  const env = { BERTH_DRIVER: "process", BERTH_METRICS_PORT: "0", REGISTRY_URL: registry.host, BERTH_REGISTRY_PORT: "0" };
  const berth = await startBerth({ data: tempFolder(t), env });
  t.teardown(() => berth.stop());
  const base = await eventually("the registry's address", async () => /registry proxy at http:\/\/(\S+)/.exec(berth.output())?.[1]);
  const post = async (path: string, body: object) => {
    const answer = await berth.call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    return (await answer.json()) as { key: string };
  };
  await post("/users", { login: "anna" });
  const { key } = await post("/users/anna/keys", {});
  const published = await berth.publish("chem", {
    "package.json": JSON.stringify({ name: "chem", version: "1.0.0" }),
    "dockerfiles/app/Dockerfile": "FROM scratch\nEXPOSE 80\n",
  });
  t.equal(published.status, 200, await published.text());

  const from = imageFolder(t, Buffer.alloc(100_000, "layer"));
  const push = (repository: string, by = key) =>
    run("skopeo", ["--tmpdir", tempFolder(t), ...COPY, "--dest-creds", `any:${by}`, `dir:${from}`, `docker://${base}/${repository}:1`]);
  const refused = await push("datagrok/chem-app");
  t.not(refused.code, 0, "another's");
  t.match(refused.output, /access to the resource is denied/);
  t.not((await push("library/debian")).code, 0, "without a user of berth");
  const { repositories } = (await (await fetch(`http://${registry.host}/v2/_catalog`)).json()) as { repositories: string[] };
  t.same(repositories, [], "nothing of it came to the registry");
  t.match(await push("datagrok/annas-own"), { code: 0 });
  t.match(await push("datagrok/chem-app", berth.key), { code: 0 }, "its author does");

  const kept = await eventually("both to be in the audit log", async () => {
    const entries = (await (await berth.call("/admin/audit?action=imagePushed")).json()) as { target: string; login: string }[];
    return entries.length === 2 ? entries.map(({ target, login }) => `${login} ${target}`) : undefined;
  });
  t.same(kept, ["admin datagrok/chem-app:1", "anna datagrok/annas-own:1"]);
  for (const path of ["/healthz", "/readyz"]) t.equal((await fetch(`http://${base}${path}`)).status, 200, path);
  const counted = await scrape(berth);
  t.equal(total(counted, "berth_registry_pushes_total", { outcome: "2xx" }), 2);
  t.ok(total(counted, "berth_requests_total", { route: "upload", status: "2xx" }) > 0);
  t.ok(total(counted, "berth_auth_failures_total", { where: "upload" }) + total(counted, "berth_auth_failures_total", { where: "blob" }) > 0);
});
