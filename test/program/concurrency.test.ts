import t from "tap";
import { eventually } from "../fixtures/eventually.ts";
import { scrape, total } from "../fixtures/metrics-page.ts";
import { openStand } from "./contract/stand.ts";

/** Takes 50 ms for each request, and says how many it had at once. */
const COUNTING = {
  "dockerfiles/model/Dockerfile": 'FROM node\nEXPOSE 8080\nCMD ["node", "server.cjs"]\n',
  "dockerfiles/model/server.cjs": `let open = 0, most = 0;
require("node:http").createServer((request, response) => {
  most = Math.max(most, ++open);
  setTimeout(() => { open--; response.end(String(most)); }, 50);
}).listen(Number(process.env.PORT), "127.0.0.1");`,
  "dockerfiles/model/container.json": JSON.stringify({ on_demand: true, max_concurrency: 2 }),
};

t.test("a container gets as many requests at once as it takes, and a user who sends many delays no other", async (t) => {
  const stand = await openStand(t, { BERTH_METRICS_PORT: "0" });
  await stand.published("app", COUNTING);
  const { id } = await stand.container("app-model");
  const [greedy, other] = [await stand.person("greedy"), await stand.person("other")];
  const get = async (token: string) => {
    const response = await fetch(`${stand.api}/docker/containers/proxy/${id}/`, { headers: { authorization: token } });
    t.equal(response.status, 200);
    return Number(await response.text());
  };
  await get(other.token);
  let answered = 0;
  const flood = Array.from({ length: 60 }, async () => {
    const most = await get(greedy.token);
    answered++;
    return most;
  });
  await eventually("the flood to begin", () => answered > 1);
  for (let time = 0; time < 5; time++) {
    const before = answered;
    await get(other.token);
    // Two run at its arrival, and with it one at a time: those that were answered together with it may be counted too.
    t.ok(answered - before <= 6, `${answered - before} requests of the other user were answered before it`);
  }
  const most = await Promise.all(flood);
  t.equal(Math.max(...most), 2);
  await eventually("the waits to be counted", async () => total(await scrape(stand), "berth_concurrency_waits_total", { outcome: "entered" }) >= 58);
});
