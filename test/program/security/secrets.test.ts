import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { ADMIN_KEY } from "../../fixtures/berth.ts";
import { openStand, packageOf, talk } from "../rights/fixtures/stand.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** Each is shown to berth in every way there is; then all that it wrote and keeps is searched for it. */
const OWN = "own-variable-3f9c1d";
const SET = "set-credential-77ab20";
const WRONG = "wrong-key-1c77d4e2a1";
const QUERY = "in-a-query-55e0f1";
const stand = await openStand(t, { BERTH_LOG_LEVEL: "debug" });
const { berth } = stand;
const anna = await stand.addPerson("anna");
const uma = await stand.addPerson("uma");

const files = packageOf("secretive", ["square"]);
const container = { on_demand: true, environmentVars: { OWN_SECRET: OWN, BROKEN: "no" } };
const published = await stand.publish(
  "secretive",
  { ...files, "dockerfiles/square/container.json": JSON.stringify(container) },
  { authorization: anna.token },
);
if (published.status !== 200) throw new Error(await published.text());
const id = await stand.ready("secretive-square");
const as = (token: string, more: object = {}) => ({ headers: { authorization: token, ...more } });
const set = await fetch(`${berth.api}/credentials/for/secretive`, {
  method: "POST",
  ...as(anna.token, { "content-type": "application/json" }),
  body: JSON.stringify({ SECRET_OF_PACKAGE: SET }),
});
if (!set.ok) throw new Error(await set.text());

const secrets = { OWN, SET, WRONG, QUERY, anna: anna.token, annasKey: anna.key, uma: uma.token, admin: berth.token, adminsKey: ADMIN_KEY };

t.test("all that is answered to others is without them", async (t) => {
  const answered: string[] = [];
  const ask = async (path: string, init: RequestInit = {}) => {
    const answer = await fetch(`${berth.base}${path}`, init);
    answered.push(`${answer.status} ${[...answer.headers].join()} ${await answer.text()}`);
    return answer.status;
  };
  t.equal(await ask(`/api/docker/containers/proxy/${id}/square?number=3&token=${QUERY}`, as(anna.token)), 200);
  t.equal(await ask(`/api/docker/containers/proxy/${id}/square?number=3`, { headers: { cookie: `auth=${uma.token}` } }), 200);
  t.equal(await ask(`/api/docker/containers/proxy/${id}/square?number=3`, { headers: { "x-user-api-key": uma.token } }), 200);
  t.equal(await talk(berth, `/docker/containers/proxy-ws/${id}/ws`, { cookie: `auth=${anna.token}` }), 101);
  for (const path of ["/docker/containers", `/docker/containers/${id}`, "/docker/images", "/users/current", `/docker/containers/${id}/logs`])
    await ask(`/api${path}`, as(uma.token));
  await ask(`/api/credentials/for/secretive`, as(uma.token));
  await ask(`/api/credentials/for/secretive`, as(anna.token));
  for (const path of [`/users/login/dev/${WRONG}`, "/users/login/dev"]) {
    await ask(`/api${path}`, { method: "POST", headers: { authorization: `Dev ${WRONG}` } });
  }
  for (const headers of [
    { authorization: WRONG },
    { authorization: `Bearer ${WRONG}` },
    { cookie: `auth=${WRONG}` },
    { "x-user-api-key": WRONG },
  ] as Record<string, string>[])
    t.equal(await ask(`/api/docker/containers/proxy/${id}/square`, { headers }), 401);
  await ask(`/api/docker/token?account=any&service=x`, { headers: { authorization: `Basic ${Buffer.from(`any:${WRONG}`).toString("base64")}` } });
  await ask(`/api/no-such-route?token=${QUERY}`, as(anna.token));
  await ask("/api/docker/containers", { method: "POST", ...as(anna.token, { "content-type": "application/json" }), body: `{"id": "${WRONG}"` });
  const all = answered.join("\n");
  for (const [name, secret] of Object.entries(secrets)) t.notOk(all.includes(secret), `${name} is in no answer`);
});

t.test("all that is logged is without them, at the level that says most", async (t) => {
  // A container that cannot start tells its cause and its last lines.
  const crash = { ...packageOf("crash", ["app"]), "dockerfiles/app/server.mjs": "console.log('about to fail'); process.exit(3);" };
  const json = { environmentVars: { OWN_SECRET: OWN } };
  t.equal(
    (await stand.publish("crash", { ...crash, "dockerfiles/app/container.json": JSON.stringify(json) }, { authorization: anna.token })).status,
    200,
  );
  const failing = await stand.ready("crash-app");
  await fetch(`${berth.api}/docker/containers/${failing}/run?awaitStart=true`, as(anna.token));
  await berth.until("crash-app", ["error"]);
  t.match(berth.output(), /CONTAINER_CRASHED/);
  for (const [name, secret] of Object.entries(secrets)) t.notOk(berth.output().includes(secret), `${name} is in no line`);
});

t.test("what is kept is a digest, or sealed; and what is public about a process says nothing", async (t) => {
  const folder = join(stand.data, "berth-data");
  const kept = readdirSync(folder)
    .filter((name) => name.startsWith("berth.db"))
    .map((name) => readFileSync(join(folder, name)).toString("latin1"))
    .join("\n");
  t.ok(kept.includes("secretive"), "the store was read");
  const { OWN: inItsDefinition, ...others } = secrets;
  t.ok(kept.includes(inItsDefinition), "a container's own map is a part of its definition, and documented as such");
  for (const [name, secret] of Object.entries(others)) t.notOk(kept.includes(secret), `${name} is not in the store as it is`);

  const pids = await eventually("the container to run", async () => {
    const exposed = readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && environmentOf(pid).includes(OWN));
    return exposed.length > 0 ? exposed : undefined;
  });
  const lines = [...pids, String(berth.pid)].map((pid) => readFileSync(`/proc/${pid}/cmdline`, "latin1")).join("\n");
  for (const [name, secret] of Object.entries(secrets)) t.notOk(lines.includes(secret), `${name} is on no command line`);
});

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1");
  } catch {
    return "";
  }
}
