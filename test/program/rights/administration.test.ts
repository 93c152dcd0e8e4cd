import t from "tap";
import { openStand, packageOf } from "./fixtures/stand.ts";

t.test("an administrator's plain session has the rights of a user; administration takes the key, or a session that requested it", async (t) => {
  const stand = await openStand(t);
  const { berth } = stand;
  const ada = await stand.addPerson("ada");
  await stand.publish("hers", packageOf("hers", ["square"]), { authorization: `Dev ${ada.key}` });
  const id = await stand.ready("hers-square");
  const boss = await stand.addPerson("boss", { admin: true });
  const administration = await stand.signIn(boss.key, { administration: true });
  const json = { "content-type": "application/json" };
  const calls: [method: string, path: string, body?: object][] = [
    ["GET", "/users"],
    ["POST", "/users", { login: "new" }],
    ["DELETE", "/users/new"],
    ["POST", "/users/boss/keys", {}],
    ["GET", "/users/ada/keys"],
    ["GET", "/admin/audit"],
    ["GET", "/admin/orphans"],
    ["GET", `/docker/containers/${id}/logs`],
    ["GET", `/docker/containers/${id}/run`],
  ];
  for (const [method, path, body] of calls) {
    const status = async (authorization: string) => {
      const sent = body === undefined ? {} : { body: JSON.stringify(body) };
      const answer = await fetch(`${berth.api}${path}`, { method, headers: { authorization, ...(body ? json : {}) }, ...sent });
      await answer.arrayBuffer();
      return answer.status;
    };
    t.equal(await status(boss.token), 403, `${method} ${path} with a plain session`);
    t.equal(await status(path === "/users" && method === "POST" ? administration : `Dev ${boss.key}`), 200, `${method} ${path} with the key`);
    if (method === "GET") t.equal(await status(administration), 200, `${method} ${path} with administration requested`);
  }
  const response = await fetch(`${berth.api}/users`, { headers: { authorization: await stand.signIn(ada.key, { administration: true }) } });
  t.equal(response.status, 403, "a request for administration makes no user an administrator");
  const refused = await fetch(`${berth.api}/users`, { headers: { authorization: boss.token } });
  t.match(await refused.json(), { code: "NOT_PERMITTED", message: /Authorization: Dev/ }, "and the refusal names the remedy");
});
