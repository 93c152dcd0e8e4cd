import type { ContainerView } from "../directory.ts";

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
  const watching = new Map<string, Set<OnChange>>();

  const tell = (id: string) => {
    const view = views.get(id);
    // Who is told may stop watching, or begin to.
    const told = [...(watching.get(id) ?? [])];
    for (const onChange of told) onChange(view);
  };

  return {
    find: (id) => views.get(id),
    watch: (id, onChange) => {
      const watchers = watching.get(id) ?? new Set();
      watching.set(id, watchers.add(onChange));
      return () => {
        watchers.delete(onChange);
        if (watchers.size === 0 && watching.get(id) === watchers) watching.delete(id);
      };
    },
    replace: (all) => {
      const before = views;
      views = new Map(all.map((view) => [view.id, view]));
      const changed = [...watching.keys()].filter((id) => JSON.stringify(before.get(id)) !== JSON.stringify(views.get(id)));
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
