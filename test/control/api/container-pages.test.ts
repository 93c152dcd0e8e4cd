import t, { type Test } from "tap";
import { createContainerPages } from "../../../control/api/container-pages.ts";
import { newContainer, openLifecycleFixture } from "../lifecycle/lifecycle-fixture.ts";

/** So many containers in a store, whose pages are read through a counter. */
async function openPages(t: Test, count: number) {
  const stand = await openLifecycleFixture(t);
  const { id: first } = await stand.publish({ config: { onDemand: true } });
  await stand.reaches(first, "SYSTEM_STOPPED");
  const { imageId, config } = stand.row(first);
  await stand.store().transaction(async () => {
    for (let number = 1; number < count; number++) {
      const row = newContainer(stand.image(imageId), config, stand.clock.now());
      await stand.store().containers.insert({ ...row, folder: `web${number}`, name: `web${number}`, service: `web${number}` });
    }
  });
  const reads: string[] = [];
  const toView = (after: string, most: number) => {
    reads.push(after);
    return stand.store().containers.toView(after, most);
  };
  const pages = createContainerPages({ lifecycle: stand.lifecycle(), store: { containers: { toView } }, clock: stand.clock });
  t.teardown(() => pages.close());
  const list = async () => {
    const views: { id: string; standing: { kind: string } }[] = [];
    for (let after: string | undefined = ""; after !== undefined;) {
      const { last, json }: Awaited<ReturnType<typeof pages.after>> = await pages.after(after);
      views.push(...(JSON.parse(json.toString()) as typeof views));
      after = last;
    }
    return views;
  };
  return { stand, pages, reads, list };
}

t.test("gateways that connect at about the same time share what is read and encoded for them", async (t) => {
  const { stand, reads, list } = await openPages(t, 1_200);
  const lists = await Promise.all([list(), list(), list()]);
  for (const views of lists) t.equal(new Set(views.map(({ id }) => id)).size, 1_200);
  t.equal(reads.length, 3);
  await list();
  t.equal(reads.length, 3, "also a moment later");
  await stand.clock.advance(2_000);
  await list();
  t.equal(reads.length, 6, "and not longer");
});

t.test("a page is read anew after a change of one of its containers, and only that one", async (t) => {
  const { stand, pages, reads, list } = await openPages(t, 1_200);
  const before = await list();
  const [changed, removed] = [before.at(700)?.id ?? "", before.at(-1)?.id ?? ""];
  await stand.start(changed);
  await stand.lifecycle().remove(removed);
  const after = await list();
  t.equal(after.find(({ id }) => id === changed)?.standing.kind, "awake");
  t.equal(after.length, 1_199);
  t.strictSame(reads.slice(3), [before[499]?.id, before[999]?.id]);

  await stand.clock.advance(2_000);
  const reading = pages.after("");
  // While it is read: no other gateway gets it.
  await stand.start(before[0]?.id ?? "");
  const [first] = JSON.parse((await pages.after("")).json.toString()) as { standing: { kind: string } }[];
  t.equal(first?.standing.kind, "awake");
  await reading;
});
