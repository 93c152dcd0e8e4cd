import type { ContainerView } from "../contract.ts";

type ContainerListener = (view: ContainerView | undefined) => void;

export type ContainerCache = {
  find(id: string): ContainerView | undefined;
  watch(id: string, onChange: ContainerListener): () => void;
  /** Replaces everything, as after a reconnect: what was missed meanwhile is told to its watchers now. */
  replace(views: readonly ContainerView[]): void;
  change(view: ContainerView): void;
  remove(id: string): void;
};

/** What this gateway knows of containers. It stays as it is while control is away. */
export function createContainerCache(): ContainerCache {
  let views = new Map<string, ContainerView>();
  const watching = createWatchers();
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

/** Who wants to hear of each container. */
export function createWatchers() {
  const watching = new Map<string, Set<ContainerListener>>();
  return {
    ids: (): string[] => [...watching.keys()],
    has: (id: string): boolean => watching.has(id),
    add: (id: string, onChange: ContainerListener): (() => void) => {
      const those = watching.get(id) ?? new Set();
      watching.set(id, those.add(onChange));
      return () => {
        those.delete(onChange);
        if (those.size === 0 && watching.get(id) === those) watching.delete(id);
      };
    },
    tell: (id: string, view: ContainerView | undefined): void => {
      // Who is told may stop watching, or begin to.
      const told = [...(watching.get(id) ?? [])];
      for (const onChange of told) onChange(view);
    },
  };
}
