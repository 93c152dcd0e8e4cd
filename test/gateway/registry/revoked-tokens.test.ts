import t from "tap";
import { startBerth } from "../../fixtures/berth.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { openDistribution } from "./distribution.ts";
import { registryClient } from "./registry-client.ts";

const INDEX = "application/vnd.oci.image.index.v1+json";

t.test("a docker token counts no longer once its user is blocked, or loses the key, the publisher or the repository", async (t) => {
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

  const [annasKey, maxsKey] = [await keyOf("anna"), await keyOf("max")];
  const mayPush = async (key: string) => ({ authorization: `Bearer ${await token(["repository:datagrok/new:pull,push"], key)}` });
  const put = async (headers: Record<string, string>, tag: string) => {
    const body = JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [], annotations: { tag } });
    const answer = await fetch(`${base}/v2/datagrok/new/manifests/${tag}`, { method: "PUT", headers: { ...headers, "content-type": INDEX }, body });
    return `${answer.status} ${await answer.text()}`;
  };
  // Both get the right while the repository has no owner.
  const [first, second] = [await mayPush(annasKey), await mayPush(maxsKey)];
  t.match(await put(first, "1"), /^201/);
  t.match(await put(second, "1"), /^403 .*DENIED.*datagrok\/new belongs to another/, "the repository has an owner now");
  t.match(await put(first, "2"), /^201/);
  await call("PUT", "/docker/registry/owner", { repository: "datagrok/new", login: "max" });
  t.match(await put(first, "3"), /^403/);
  t.match(await put(second, "3"), /^201/);

  const annas = await tokenOf(annasKey);
  const maxs = await tokenOf(maxsKey);
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
