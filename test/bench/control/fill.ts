import { randomUUID } from "node:crypto";
import { systemClock } from "../../../lib/clock.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { newContainer, newImage } from "../../control/lifecycle/lifecycle-fixture.ts";

const CONFIG = { cpu: 1, memoryMb: 64, gpu: 0, shmMb: 64, storageGb: 1, onDemand: true };

/** The user who wakes them. */
export const USER = "22222222-2222-4222-8222-222222222222";

/** A store with so many containers that sleep, each of an image of its own and with what one that has run leaves: some lines of logs. Returns their ids. */
export function fill(folder: string, count: number): string[] {
  const clock = systemClock();
  const store = openStore({ folder, clock });
  const now = clock.now();
  store.users.insert({ id: USER, login: "ada", friendlyName: "Ada", admin: false, createdOn: now });
  const ids = store.transaction(() =>
    Array.from({ length: count }, (_, index) => {
      const name = `app-${index}`;
      const fresh = newImage(name, now);
      const image = { ...fresh, state: "READY" as const, resolvedId: `memory:${fresh.ref}`, exposed: [80], logs: "x".repeat(500) };
      if (index === 0)
        store.packages.insert({ id: image.packageId, name: "bench", version: "1.0.0", authorId: USER, createdOn: now, updatedOn: now });
      store.images.insert(image);
      return store.containers.insert({ ...newContainer(image, CONFIG, now), lastLogs: "y".repeat(2_000) }).id;
    }),
  );
  store.close();
  return ids.toSorted(() => Math.random() - 0.5);
}

/** A token that nobody holds: the calls of this measurement go by the feed's socket, which knows no tokens. */
export const CALLER = { userId: USER, login: "ada", admin: false, token: randomUUID() };
