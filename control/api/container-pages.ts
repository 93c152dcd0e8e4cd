import { viewOnWire } from "../../gateway/contract.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Lifecycle } from "../lifecycle/open-lifecycle.ts";
import type { Store } from "../store/open-store.ts";

/**
 * Containers of one line of the feed, and of one turn of the event loop. With 100 000 in one line, control would block for seconds, which gateways take for
 * its end, and gateways would refuse the line for its length.
 */
const CONTAINERS_PER_PAGE = 500;

/** After a failover all gateways read the list within this time. */
const KEPT_MS = 2_000;

/** Some 25 MB. Of a longer list gateways share what they read at about the same time. */
const MOST_PAGES = 64;

/** `last`: the id after which the next page begins; undefined: there is none. `json`: an array of the views on the wire. */
export type ContainerPage = { last: string | undefined; json: Buffer };

/** `after`: as `ContainerPage.last` of the page before, "" for the first one. */
type ReadPage = { after: string; page: Promise<ContainerPage>; last: string | undefined };

/**
 * The list of all containers for gateways, in pages. Gateways that connect at about the same time share them: each page is read and encoded once. After a
 * change of one of its containers, no further gateway gets the page that was read before.
 */
export type ContainerPages = {
  /** The page after this id, as of the call or later, together with the changes since. */
  after(id: string): Promise<ContainerPage>;
  close(): void;
};

export function createContainerPages(deps: {
  lifecycle: Pick<Lifecycle, "viewOf" | "watch">;
  store: { containers: Pick<Store["containers"], "toView"> };
  clock: Pick<Clock, "after">;
}): ContainerPages {
  const { lifecycle, store, clock } = deps;
  const pages = new Map<string, ReadPage>();
  let cancel = () => {};

  const read = async (after: string): Promise<ContainerPage> => {
    const rows = await store.containers.toView(after, CONTAINERS_PER_PAGE);
    const last = rows.length < CONTAINERS_PER_PAGE ? undefined : rows.at(-1)?.id;
    return { last, json: Buffer.from(JSON.stringify(rows.map((row) => viewOnWire(lifecycle.viewOf(row))))) };
  };
  const settle = async (one: ReadPage) => {
    try {
      one.last = (await one.page).last;
    } catch {
      // Each caller that waits for it gets the reason. The next one reads it again.
      if (pages.get(one.after) === one) pages.delete(one.after);
    }
  };
  const keep = () => {
    cancel();
    cancel = clock.after(KEPT_MS, () => pages.clear());
  };
  const unwatch = lifecycle.watch((change) => {
    if (pages.size === 0 || "image" in change) return;
    const id = "removed" in change ? change.removed : change.container.id;
    // Of one that is being read, the end is not known yet.
    for (const { after, last } of pages.values()) if (id > after && (last === undefined || id <= last)) pages.delete(after);
  });
  return {
    after: (id) => {
      keep();
      const current = pages.get(id);
      if (current) return current.page;
      const [oldest] = pages.size < MOST_PAGES ? [] : pages.keys();
      if (oldest !== undefined) pages.delete(oldest);
      const fresh: ReadPage = { after: id, page: read(id), last: undefined };
      pages.set(id, fresh);
      void settle(fresh);
      return fresh.page;
    },
    close: () => {
      cancel();
      unwatch();
      pages.clear();
    },
  };
}
