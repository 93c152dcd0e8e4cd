import t from "tap";
import { appFiles, openStand } from "./contract/stand.ts";

t.test("a request for a container starts what it depends on, and is answered once both run", async (t) => {
  const stand = await openStand(t);
  const published = await stand.published("shop", {
    ...appFiles("db", "rows", { on_demand: true, shutdown_timeout: 5 }),
    ...appFiles("web", "page", { on_demand: true, shutdown_timeout: 5, depends_on: ["db"] }),
  });
  t.equal(published.status, 200);
  const web = await stand.container("shop-web");
  const response = await stand.call(`/docker/containers/proxy/${web.id}/`);
  t.equal(await response.text(), "page");
  const db = await stand.container("shop-db");
  t.equal(db.status, "started");
  const { awake } = await stand.json(`/docker/containers/${db.id}/explain`);
  t.match(awake, [{ kind: "dependents", says: "shop-web depends on it and may use it." }]);
  const [start] = await stand.json(`/docker/containers/${web.id}/wakes`);
  t.same(
    start.phases.slice(0, 2).map(({ name }: { name: string }) => name),
    ["queue", "dependencies"],
  );
  const [cause] = await stand.json(`/docker/containers/${db.id}/wakes`);
  t.match(cause, { for: "dependency", outcome: "answered" });
});

t.test("a package whose containers cannot start in any order is refused", async (t) => {
  const stand = await openStand(t);
  const missing = await stand.published("shop", appFiles("web", "page", { depends_on: ["db"] }));
  t.equal(missing.status, 400);
  t.match(JSON.stringify(missing), /dockerfiles\/web\/container\.json: depends_on names db, but the package makes no container of dockerfiles\/db\./);
  const cycle = await stand.published("shop", {
    ...appFiles("a", "1", { depends_on: ["b"] }),
    ...appFiles("b", "1", { depends_on: ["a"] }),
  });
  t.equal(cycle.status, 400);
  t.match(JSON.stringify(cycle), /depends_on is a cycle: a → b → a\. None of them could start first\./);

  const good = await stand.published("shop", { ...appFiles("a", "1", { depends_on: ["b"] }), ...appFiles("b", "1") });
  t.equal(good.status, 200);
  const b = await stand.container("shop-b");
  const save = (config: object) =>
    stand.call(`/docker/containers`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...b, config }),
    });
  const refused = await save({ depends_on: ["a"] });
  t.equal(refused.status, 400);
  t.match(await refused.text(), /cycle/);
});
