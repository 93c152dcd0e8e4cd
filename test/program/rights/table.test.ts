import t from "tap";
import { openStand, packageOf, talk } from "./fixtures/stand.ts";

/** Who may do what, by what the edge answers. A role shows its session token; a WebSocket that arrives is 101, one that is closed its code. */
const ROLES = ["anonymous", "badToken", "user", "author", "member", "admin"] as const;
type Role = (typeof ROLES)[number];

const TABLE = {
  "list containers": [401, 401, 200, 200, 200, 200],
  "find a container": [401, 401, 200, 200, 200, 200],
  "list images": [401, 401, 200, 200, 200, 200],
  "call by HTTP": [401, 401, 200, 200, 200, 200],
  "call by WebSocket": [1008, 1008, 101, 101, 101, 101],
  run: [401, 401, 403, 200, 200, 200],
  "read logs": [401, 401, 403, 200, 200, 200],
  stop: [401, 401, 403, 200, 200, 200],
  "revalidate an image": [401, 401, 403, 200, 200, 200],
  "save a container": [401, 401, 403, 200, 200, 200],
  "publish a new package": [401, 401, 200, 200, 200, 200],
  "publish over the author's": [401, 401, 403, 200, 200, 200],
  "delete a container": [401, 401, 403, 200, 200, 200],
  "list users": [401, 401, 403, 403, 403, 200],
  "add a user": [401, 401, 403, 403, 403, 200],
  "change a user": [401, 401, 403, 403, 403, 200],
  "make a key": [401, 401, 403, 403, 403, 200],
  "list keys": [401, 401, 403, 403, 403, 200],
  "list own keys with a session": [401, 401, 403, 403, 403, 200],
  "list own keys with a developer key": [401, 401, 200, 200, 200, 200],
  "list sessions": [401, 401, 403, 403, 403, 200],
  "end sessions": [401, 401, 403, 403, 403, 200],
  "list credentials": [401, 401, 403, 403, 403, 200],
  "add to a group": [401, 401, 403, 403, 403, 200],
  "remove a user": [401, 401, 403, 403, 403, 200],
} as const satisfies Record<string, Record<number, number> & { length: (typeof ROLES)["length"] }>;

t.test("who may do what", async (t) => {
  const stand = await openStand(t);
  const { berth } = stand;
  const user = await stand.addPerson("uma", { groups: ["elsewhere"] });
  const author = await stand.addPerson("anna", { groups: ["lab", "other"] });
  const member = await stand.addPerson("max", { groups: ["lab"] });
  const tokens: Record<Role, string | undefined> = {
    anonymous: undefined,
    badToken: "x".repeat(43),
    user: user.token,
    author: author.token,
    member: member.token,
    admin: berth.token,
  };
  const keys: Record<Role, string | undefined> = {
    anonymous: undefined,
    badToken: "x".repeat(43),
    user: user.key,
    author: author.key,
    member: member.key,
    admin: berth.key,
  };
  const headers = (role: Role) => (tokens[role] === undefined ? {} : { authorization: tokens[role] });
  // One folder for each role to delete; publishing again brings none back, since each publishes a package of all of them first.
  const files = packageOf("shared", ["square", ...ROLES.map((role) => role.toLowerCase())]);
  t.equal((await stand.publish("shared", files, headers("author"))).status, 200);
  const id = await stand.ready("shared-square");
  const image = (await berth.container("shared-square")).dockerfile.id;
  const proxy = `/docker/containers/proxy/${id}/square?number=4`;

  const ask = async (role: Role, path: string, method = "GET", body?: object) => {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    const type = body === undefined ? {} : { "content-type": "application/json" };
    const answer = await fetch(`${berth.api}${path}`, { method, headers: { ...headers(role), ...type }, ...sent });
    await answer.arrayBuffer();
    return answer.status;
  };
  const publish = async (role: Role, name: string, what: Record<string, string>) => (await stand.publish(name, what, headers(role))).status;

  const ACTIONS: Record<keyof typeof TABLE, (role: Role) => Promise<number>> = {
    "list containers": (role) => ask(role, "/docker/containers"),
    "find a container": (role) => ask(role, `/docker/containers/${id}`),
    "list images": (role) => ask(role, "/docker/images"),
    "call by HTTP": (role) => ask(role, proxy),
    "call by WebSocket": (role) => talk(berth, `/docker/containers/proxy-ws/${id}/ws`, headers(role)),
    run: (role) => ask(role, `/docker/containers/${id}/run?awaitStart=true`),
    "read logs": (role) => ask(role, `/docker/containers/${id}/logs`),
    stop: (role) => ask(role, `/docker/containers/${id}/stop?awaitStop=true`),
    "revalidate an image": (role) => ask(role, `/docker/images/${image}/revalidate`),
    "save a container": (role) => ask(role, "/docker/containers", "POST", { id, friendlyName: "Square" }),
    "publish a new package": (role) => publish(role, `of-${role.toLowerCase()}`, packageOf(`of-${role.toLowerCase()}`, ["one"])),
    "publish over the author's": (role) => publish(role, "shared", files),
    "delete a container": async (role) => ask(role, `/docker/containers/${(await berth.container(`shared-${role.toLowerCase()}`)).id}`, "DELETE"),
    "list users": (role) => ask(role, "/users"),
    "add a user": (role) => ask(role, "/users", "POST", { login: "new" }),
    "change a user": (role) => ask(role, "/users/new", "PATCH", { groups: ["lab"] }),
    "make a key": (role) => ask(role, "/users/new/keys", "POST", {}),
    "list keys": (role) => ask(role, "/users/new/keys"),
    "list own keys with a session": (role) => ask(role, "/users/current/keys"),
    "list own keys with a developer key": async (role) => {
      const answer = await fetch(`${berth.api}/users/current/keys`, {
        headers: keys[role] === undefined ? {} : { authorization: `Dev ${keys[role]}` },
      });
      await answer.arrayBuffer();
      return answer.status;
    },
    "list sessions": (role) => ask(role, "/admin/sessions"),
    "end sessions": (role) => ask(role, "/users/new/sessions", "DELETE"),
    "list credentials": (role) => ask(role, "/admin/credentials"),
    "add to a group": (role) => ask(role, "/admin/groups/lab/members/new", "PUT"),
    "remove a user": (role) => ask(role, "/users/new", "DELETE"),
  };

  for (const [action, expected] of Object.entries(TABLE)) {
    const answered: Record<string, number> = {};
    for (const role of ROLES) answered[role] = await ACTIONS[action as keyof typeof TABLE](role);
    t.same(answered, Object.fromEntries(ROLES.map((role, at) => [role, expected[at as 0]])), action);
  }

  const statusOf = async (role: Role) => {
    const answer = await fetch(`${berth.api}/docker/containers/${id}`, { headers: headers(role) });
    return ((await answer.json()) as { lastLogs: string }).lastLogs !== "";
  };
  t.same([await statusOf("user"), await statusOf("member")], [false, true], "what a container wrote is shown in the entity to the same users alone");
});
