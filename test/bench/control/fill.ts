import { randomUUID } from "node:crypto";
import { systemClock } from "../../../lib/clock.ts";
import { openStore } from "../../../control/store/open-store.ts";
import type { StoreDatabase } from "../../fixtures/store-kinds.ts";
import { newContainer, newImage } from "../../control/lifecycle/lifecycle-fixture.ts";

const CONFIG = { cpu: 1, memoryMb: 64, gpu: 0, shmMb: 64, storageGb: 1, onDemand: true };

/** The user who wakes them. */
export const USER = "22222222-2222-4222-8222-222222222222";

/** A store with so many containers that sleep, each of an image of its own and with what one that has run leaves: some lines of logs. Returns their ids. */
export async function fill(folder: string, count: number, database?: StoreDatabase): Promise<string[]> {
  const clock = systemClock();
  const store = await openStore({ folder, clock, ...database });
  const now = clock.now();
  await store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: false, createdOn: now });
  const ids: string[] = [];
  await store.transaction(async () => {
    for (let index = 0; index < count; index++) {
      const name = `app-${index}`;
      const fresh = newImage(name, now);
      const image = { ...fresh, state: "READY" as const, resolvedId: `memory:${fresh.ref}`, exposed: [80], logs: "x".repeat(500) };
      if (index === 0)
        await store.packages.insert({ id: image.packageId, name: "bench", version: "1.0.0", authorId: USER, createdOn: now, updatedOn: now });
      await store.images.insert(image);
      ids.push((await store.containers.insert({ ...newContainer(image, CONFIG, now), lastLogs: "y".repeat(2_000) })).id);
    }
  });
  await store.close();
  return ids.toSorted(() => Math.random() - 0.5);
}

/** A token without a user: the calls of this measurement go by the feed's socket, which knows no tokens. */
export const CALLER = { userId: USER, login: "ada", admin: false, token: randomUUID() };
