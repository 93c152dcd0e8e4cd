import { request } from "node:http";
import t, { type Test } from "tap";
import { ADMIN_KEY, startBerth } from "../../fixtures/berth.ts";
import { startBerthProcess } from "../../fixtures/berth-process.ts";
import { tempFolder } from "../../fixtures/temp-folder.ts";
import { basic } from "./stand.ts";

/** A registry proxy in front of a server that knows the users; `trusted` is what that server believes of proxies. */
async function openBeside(t: Test, trusted?: string) {
  const berth = await startBerth({
    data: tempFolder(t),
    env: { BERTH_DRIVER: "process", ...(trusted === undefined ? {} : { BERTH_TRUSTED_PROXIES: trusted }) },
  });
  t.teardown(() => berth.stop());
  const proxy = await startBerthProcess({
    role: "registry-proxy",
    cwd: tempFolder(t),
    env: { DATAGROK_URL: berth.api, REGISTRY_URL: "http://127.0.0.1:9", BERTH_REGISTRY_PORT: "0" },
    announces: /registry proxy at (http:\S+)/,
  });
  t.teardown(() => proxy.end("SIGTERM"));
  const base = proxy.announced[1] ?? "";
  /** As docker asks at a login, from an address of this machine. */
  return (key: string, localAddress: string) =>
    new Promise<number>((resolve, reject) => {
      const headers = { authorization: basic(key), connection: "close" };
      const sent = request(`${base}/token?service=docker-registry&account=any`, { localAddress, headers }, (answer) => {
        answer.resume().once("end", () => resolve(answer.statusCode ?? 0));
      });
      sent.once("error", reject).end();
    });
}

t.test("one client's wrong docker logins keep no other client out, although the server sees one address", async (t) => {
  const login = await openBeside(t);
  const statuses: number[] = [];
  for (let tried = 0; tried < 12; tried++) statuses.push(await login("wrong-key", "127.0.0.2"));
  t.same(statuses, [...Array<number>(5).fill(401), ...Array<number>(7).fill(429)]);
  t.equal(await login(ADMIN_KEY, "127.0.0.3"), 200, "a client that had not signed in before");
  t.equal(await login(ADMIN_KEY, "127.0.0.2"), 429);
  for (const client of [4, 5, 6, 7, 8]) for (let tried = 0; tried < 5; tried++) await login("wrong-key", `127.0.0.${client}`);
  t.equal(await login(ADMIN_KEY, "127.0.0.3"), 200, "one that has signed in, whatever happens");
});

t.test("a server that trusts the proxy counts its clients one by one", async (t) => {
  const login = await openBeside(t, "loopback");
  for (let tried = 0; tried < 5; tried++) for (const client of [2, 3, 4, 5]) t.equal((await login("wrong-key", `127.0.0.${client}`)) >= 401, true);
  t.equal(await login(ADMIN_KEY, "127.0.0.9"), 200);
});
