import t from "tap";
import { viewOf } from "../../../control/lifecycle/changes.ts";
import type { Container } from "../../../control/model/entities.ts";
import type { Driver } from "../../../drivers/driver.ts";
import type { ContainerView } from "../../../gateway/contract.ts";
import { pause, type StillClock, turns } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { startPostgres } from "../../fixtures/postgres.ts";
import { listening, type MemoryApp } from "../../fixtures/memory-driver.ts";
import { openLifecycleFixture, USER } from "./lifecycle-fixture.ts";

/** Time passes until the work is done. */
async function passing<R>(clock: StillClock, work: () => Promise<R>): Promise<R> {
  const done = new AbortController();
  const result = work().finally(() => done.abort());
  while (!done.signal.aborted) {
    await clock.advance(250);
    await pause(5);
  }
  return result;
}

t.test("an address that is assigned while PostgreSQL is away is taken from its last holder before the new one gets a request", async (t) => {
  const server = await startPostgres(t);
  let report: (() => void) | undefined;
  const driver = (real: Driver): Driver => ({
    ...real,
    deploy: (spec, call) =>
      real.deploy(spec, {
        ...call,
        onAddresses: (...args) => {
          const now = () => call.onAddresses?.(...args);
          if (spec.service.includes("other") && report === undefined) report = now;
          else now();
        },
      }),
  });
  const stand = await openLifecycleFixture(t, { postgres: await server.database(), driver });
  const views: ContainerView[] = [];
  stand.lifecycle().watch((change) => void ("container" in change && views.push(viewOf(change.container))));
  const find = async (id: string) => (await stand.store().containers.find(id)) as Container;
  const { id, service } = await stand.publish({ name: "web", config: { onDemand: true } });
  const web = await stand.start(id);
  // Its end makes no event, and the engine gives its address to the next one.
  stand.world.deaf = true;
  await stand.world.kill(service);
  const port = web.addresses[0]?.port as number;
  let answer = () => {};
  const slow: MemoryApp = { ...listening, run: ({ listen }) => void (answer = () => listen(undefined, port)) };
  const other = await stand.publish({ name: "other", app: slow, config: { onDemand: true } });
  stand.world.assigns.set(other.service, port);
  await stand.lifecycle().requestStart(other.id, USER);
  const reportAddress = await eventually("the address to be assigned", () => report);

  await server.stop("SIGKILL");
  reportAddress();
  await passing(stand.clock, async () => t.rejects(find(id), { code: "STORE_UNAVAILABLE" }));
  answer();
  await turns(20);
  t.notOk(views.some((view) => view.id === other.id && view.availability.kind === "awake"));
  await server.start();

  const { addresses } = await passing(stand.clock, () =>
    eventually("the start", async () => {
      const row = await find(other.id).catch(() => undefined);
      return row?.state === "STARTED" ? row : undefined;
    }),
  );
  t.equal(addresses[0]?.port, port);
  t.same((await find(id)).addresses, []);
  const isAwakeOther = (view: ContainerView) => view.id === other.id && view.availability.kind === "awake";
  const earlier = views.slice(0, views.findIndex(isAwakeOther)).findLast((view) => view.id === id);
  t.ok(views.some(isAwakeOther));
  t.not(earlier?.availability.kind, "awake", "no gateway ever has both");
});
