import t from "tap";
import { startBerth } from "../../fixtures/berth.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openDistribution } from "./distribution.ts";
import { registryClient } from "./registry-client.ts";

t.test("a docker token counts no longer once its user is blocked, or loses the key or the publisher", async (t) => {
  const registry = await openDistribution(t);
  const env = { BERTH_DRIVER: "process", REGISTRY_URL: registry.host, BERTH_REGISTRY_PORT: "0", BERTH_REGISTRY_ANONYMOUS_PULL: "false" };
  const berth = await startBerth({ data: tempFolder(t), env });
  t.teardown(() => berth.stop());
  const base = await eventually("the registry's address", async () => /registry proxy at (\S+)/.exec(berth.output())?.[1]);
  const call = async (method: string, path: string, body?: object) => {
    const headers = { "content-type": "application/json" };
    const answer = await berth.call(path, { method, ...(body ? { headers, body: JSON.stringify(body) } : {}) });
    t.ok(answer.ok, `${method} ${path}: ${answer.status}`);
    return (await answer.json().catch(() => ({}))) as { key: string; id: string };
  };
  for (const login of ["anna", "max"]) await call("POST", "/users", { login });
  const { token } = registryClient(t, base);
  const keyOf = async (login: string) => (await call("POST", `/users/${login}/keys`, {})).key;
  const tokenOf = async (key: string) => ({ authorization: `Bearer ${await token(["repository:datagrok/x:pull"], key)}` });
  const status = async (headers: Record<string, string>) => (await fetch(`${base}/v2/datagrok/x/manifests/1`, { headers })).status;
  const ends = (headers: Record<string, string>) => eventually("the end of the token", async () => (await status(headers)) === 401);

  const annas = await tokenOf(await keyOf("anna"));
  const maxs = await tokenOf(await keyOf("max"));
  t.same([await status(annas), await status(maxs)], [404, 404]);
  await call("PUT", "/users/anna/block");
  await ends(annas);
  const refused = await fetch(`${base}/v2/datagrok/x/manifests/1`, { headers: annas });
  t.match(refused.headers.get("www-authenticate"), /error="invalid_token"/, "the client requests another one");
  t.match(await refused.json(), { errors: [{ code: "UNAUTHORIZED", message: /its user was blocked/ }] });
  t.equal(await status(maxs), 404, "others' tokens still count");

  await call("DELETE", "/users/anna/block");
  t.equal(await status(annas), 401, "also after the block");
  const [id] = ((await (await berth.call("/users/max/keys")).json()) as { id: string }[]).map((key) => key.id);
  await call("DELETE", `/users/max/keys/${id}`);
  await ends(maxs);
});
