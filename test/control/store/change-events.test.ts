import t from "tap";
import type { Store } from "../../../control/store/open-store.ts";
import { crashing } from "../../fixtures/memory-driver.ts";
import { storeKinds } from "../../fixtures/store-kinds.ts";
import { openLifecycleFixture, USER } from "../lifecycle/lifecycle-fixture.ts";

const WEBHOOK = {
  id: "44444444-4444-4444-8444-444444444444",
  url: "http://receiver.test/",
  eventTypes: [],
  packageName: undefined,
  keyId: "none",
  box: "",
  createdOn: 1,
  failures: 0,
  dropped: 0,
  stoppedOn: undefined,
  stopReason: undefined,
};

type StoredEvent = { type: string; sequence: string; data: { state?: string; previousState?: string; cause?: { code: string }; container?: object } };

/** The events of a subject, the oldest first. */
async function eventsOf(store: Store, subject: string): Promise<StoredEvent[]> {
  const rows = (await store.webhooks.latest(WEBHOOK.id, 1_000)).filter((row) => row.subject === subject);
  return rows.toReversed().map(({ event }) => JSON.parse(event) as StoredEvent);
}

for (const kind of storeKinds(t)) {
  t.test(`${kind.name}: each move of a container is an event, in the order of its history`, async (t) => {
    const { postgres } = await kind.fresh();
    const stand = await openLifecycleFixture(t, postgres ? { postgres } : {});
    await stand.store().webhooks.insert(WEBHOOK);
    const { id, name } = await stand.publish({ config: { onDemand: true } });
    await stand.start(id);
    await stand.stop(id);
    const events = await eventsOf(stand.store(), `containers/${id}`);
    const history = await stand.store().history.of(id);
    t.equal(events.length, history.length);
    t.strictSame(
      events.map(({ type }) => type.split(".").at(-1)),
      ["starting", "starting", "started", "stopping", "stopping", "stopped"],
    );
    t.match(events.at(-1)?.data, { state: "stopped by user", previousState: "stopping", container: { id, name } });
    const sequences = events.map(({ sequence }) => sequence);
    t.strictSame(sequences.toSorted(), sequences);
    t.equal(new Set(sequences).size, sequences.length);
  });

  t.test(`${kind.name}: a failure has its cause, without log lines; a removal is an event`, async (t) => {
    const { postgres } = await kind.fresh();
    const stand = await openLifecycleFixture(t, postgres ? { postgres } : {});
    await stand.store().webhooks.insert(WEBHOOK);
    const { id } = await stand.publish({ app: crashing, config: { onDemand: true } });
    await stand
      .lifecycle()
      .requestStart(id, USER)
      .catch(() => undefined);
    await stand.reaches(id, "ERROR");
    await stand.lifecycle().remove(id);
    const events = await eventsOf(stand.store(), `containers/${id}`);
    const failed = events.find(({ type }) => type.endsWith("container.failed"));
    t.type(failed?.data.cause?.code, "string");
    t.strictSame(Object.keys(failed?.data.cause ?? {}).toSorted(), ["code", "message"]);
    t.equal(events.at(-1)?.type, "ai.datagrok.berth.container.removed");
    t.notMatch(JSON.stringify(events), /giving up/);
  });
}
