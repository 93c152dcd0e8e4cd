import type { ContainerView } from "../contract.ts";
import { watchers } from "../watchers.ts";

type OnChange = (view: ContainerView | undefined) => void;

export type KnownContainers = {
  find(id: string): ContainerView | undefined;
  watch(id: string, onChange: OnChange): () => void;
  /** Replaces everything, as after a reconnect: what was missed meanwhile is told to its watchers now. */
  replace(views: readonly ContainerView[]): void;
  change(view: ContainerView): void;
  remove(id: string): void;
};

/** What this gateway knows of containers. It stays as it is while control is away. */
export function knownContainers(): KnownContainers {
  let views = new Map<string, ContainerView>();
  const watching = watchers();
  const tell = (id: string) => watching.tell(id, views.get(id));

  return {
    find: (id) => views.get(id),
    watch: watching.add,
    replace: (all) => {
      const before = views;
      views = new Map(all.map((view) => [view.id, view]));
      const changed = watching.ids().filter((id) => JSON.stringify(before.get(id)) !== JSON.stringify(views.get(id)));
      for (const id of changed) tell(id);
    },
    change: (view) => {
      views.set(view.id, view);
      tell(view.id);
    },
    remove: (id) => {
      views.delete(id);
      tell(id);
    },
  };
}
