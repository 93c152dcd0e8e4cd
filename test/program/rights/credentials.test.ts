import t from "tap";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { openStand, packageOf } from "./fixtures/stand.ts";

t.test("the first valid credential counts, the same at the gateway and at the API", async (t) => {
  const stand = await openStand(t);
  const { berth } = stand;
  await stand.publish("app", packageOf("app", ["square"]), { authorization: `Dev ${ADMIN_KEY}` });
  const id = await stand.ready("app-square");
  const good = berth.token;
  const rows: [headers: Record<string, string>, status: number, atApi?: number][] = [
    [{ "x-user-api-key": good }, 200],
    [{ authorization: good }, 200],
    [{ authorization: `Bearer ${good}` }, 200],
    [{ cookie: `auth=${encodeURIComponent(good)}` }, 200],
    [{ cookie: `other=1; auth="${good}"` }, 200],
    [{ cookie: `auth=stale; auth=${good}` }, 200],
    [{ "x-user-api-key": "bad", authorization: good }, 200],
    [{ "x-user-api-key": good, authorization: "bad" }, 200],
    [{ authorization: "Basic dTpw", cookie: `auth=${good}` }, 200],
    [{ authorization: "Bearer their.own.token", "x-user-api-key": good }, 200],
    [{ "x-user-api-key": "bad", authorization: "bad", cookie: "auth=bad" }, 401],
    [{ authorization: `Basic ${good}` }, 401],
    // A developer key is for the API alone.
    [{ authorization: `Dev ${ADMIN_KEY}` }, 401, 200],
    [{ "x-user-api-key": "x".repeat(5_000) }, 401],
    [{ cookie: `xauth=${good}` }, 401],
    [{}, 401],
  ];
  for (const [headers, status, atApi = status] of rows) {
    const what = JSON.stringify(headers).replaceAll(good, "good").slice(0, 80);
    const ask = async (path: string) => (await fetch(`${berth.api}${path}`, { headers })).status;
    t.equal(await ask(`/docker/containers/proxy/${id}/square?number=1`), status, `gateway ${what}`);
    t.equal(await ask("/users/current"), atApi, `API ${what}`);
  }
});
