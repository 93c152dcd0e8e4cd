import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { appFiles, openStand } from "./contract/stand.ts";

const PAGE = readFileSync(join(import.meta.dirname, "../../docs/capacity.md"), "utf8");
/** The page's blocks, in their order: the settings, and the refusal. */
const [SETTINGS = "", REFUSAL = ""] = [...PAGE.matchAll(/```(?:sh)?\n(.*?)```/gs)].map(([, text = ""]) => text);

t.test("the page's example: a user who holds a container is refused another, and another user is not", async (t) => {
  const settings = Object.fromEntries(
    execFileSync("sh", ["-ec", `${SETTINGS}\nenv`], { encoding: "utf8", env: { PATH: process.env["PATH"] } })
      .split("\n")
      .filter((line) => line.startsWith("BERTH_CAPACITY_"))
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
  t.equal(settings["BERTH_CAPACITY_USER_CONTAINERS"], "1");
  const stand = await openStand(t, settings);
  await stand.published("demo", { ...appFiles("one", "1", { on_demand: true }), ...appFiles("two", "1", { on_demand: true }) });
  const [ada, bob] = [await stand.person("ada"), await stand.person("bob")];
  const get = async (name: string, token: string) => {
    const { id } = await stand.container(name);
    const response = await fetch(`${stand.api}/docker/containers/proxy/${id}/`, { headers: { authorization: token } });
    return { status: response.status, text: await response.text(), retryAfter: response.headers.get("retry-after") };
  };
  t.match(await get("demo-one", ada.token), { status: 200, text: "1" });
  const refused = await get("demo-two", ada.token);
  t.match(refused, { status: 429, retryAfter: "30" });
  t.match(refused.text, REFUSAL.trim());
  t.match(await get("demo-one", ada.token), { status: 200 }, "what runs goes on");
  t.match(await get("demo-two", bob.token), { status: 200, text: "1" });
  t.match(await get("demo-two", ada.token), { status: 200 }, "another user has started it");
  for (const name of ["demo-one", "demo-two"]) {
    const { id } = await stand.container(name);
    const restarted = await stand.call(`/docker/containers/${id}/restart?awaitStart=true`, { method: "POST" });
    t.equal(restarted.status, 200, "an administrator restarts both");
  }
});
