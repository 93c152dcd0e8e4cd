import t from "tap";

import { openStand, packageOf, talk } from "./fixtures/stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

const WITHIN_MS = 10_000;

t.test("who is signed out, or loses the key or the user, is refused by the API at once and by gateways within 10 s", async (t) => {
  const stand = await openStand(t, { BERTH_WORKERS: "2" });
  const { berth, send } = stand;
  await stand.publish("app", packageOf("app", ["square"]), { authorization: `Dev ${berth.key}` });
  const id = await stand.ready("app-square");
  const proxy = `/docker/containers/proxy/${id}/square?number=4`;
  const get = async (path: string, token: string) => {
    const answer = await fetch(`${berth.api}${path}`, { headers: { cookie: `auth=${token}`, connection: "close" } });
    await answer.arrayBuffer();
    return answer.status;
  };

  const signedOut = await stand.addPerson("signed-out");
  const removed = await stand.addPerson("removed");
  const keyless = await stand.addPerson("keyless");
  const spare = await stand.addKey("keyless");
  const keeper = await stand.signIn(spare.key);
  const revoked = [signedOut.token, removed.token, keyless.token];
  for (const token of [...revoked, keeper]) {
    // More than one of each, so that every gateway remembers it.
    const all = await Promise.all(Array.from({ length: 8 }, () => get(proxy, token)));
    t.ok(all.every((status) => status === 200));
  }

  const [first] = (await send<{ id: string }[]>("GET", "/users/keyless/keys")).filter((key) => key.id !== spare.id);
  const out = await fetch(`${berth.api}/users/logout`, { method: "POST", headers: { authorization: signedOut.token } });
  t.equal(out.status, 200);
  await send("DELETE", "/users/removed");
  await send("DELETE", `/users/keyless/keys/${first?.id}`);
  const since = performance.now();
  for (const token of revoked) t.equal(await get("/users/current", token), 401, "the API itself asks the store each time");

  await Promise.all(
    revoked.map((token, at) =>
      eventually(`every gateway to refuse session ${at}`, async () => {
        const statuses = await Promise.all(Array.from({ length: 4 }, () => get(proxy, token)));
        return statuses.every((status) => status === 401) ? true : undefined;
      }),
    ),
  );
  const took = performance.now() - since;
  t.ok(took <= WITHIN_MS, `it took ${Math.round(took)} ms`);
  t.comment(`refused everywhere after ${Math.round(took)} ms`);
  const statuses = await Promise.all(Array.from({ length: 8 }, () => get(proxy, signedOut.token)));
  t.same(new Set(statuses), new Set([401]), "and from then on");
  t.equal(await talk(berth, `/docker/containers/proxy-ws/${id}/ws`, { cookie: `auth=${removed.token}` }), 1008);
  t.equal(await get(proxy, keeper), 200, "a session of another key of the same user goes on");
});
