import type { ContainerView } from "../contract.ts";

type ContainerListener = (view: ContainerView | undefined) => void;

type ContainerCache = {
  find(id: string): ContainerView | undefined;
  watch(id: string, onChange: ContainerListener): () => void;
  /** Replaces everything, as after a reconnect. Watchers receive what changed meanwhile. */
  replace(views: readonly ContainerView[]): void;
  change(view: ContainerView): void;
  remove(id: string): void;
};

/** The containers, as control last published them. They stay while control is away. */
export function createContainerCache(): ContainerCache {
  let views = new Map<string, ContainerView>();
  const watching = createWatchers();
  const notify = (id: string) => watching.notify(id, views.get(id));

  return {
    find: (id) => views.get(id),
    watch: watching.add,
    replace: (all) => {
      const before = views;
      views = new Map(all.map((view) => [view.id, view]));
      const changed = watching.ids().filter((id) => JSON.stringify(before.get(id)) !== JSON.stringify(views.get(id)));
      for (const id of changed) notify(id);
    },
    change: (view) => {
      views.set(view.id, view);
      notify(view.id);
    },
    remove: (id) => {
      views.delete(id);
      notify(id);
    },
  };
}

/** Listeners by container. */
export function createWatchers() {
  const watching = new Map<string, Set<ContainerListener>>();
  return {
    ids: (): string[] => [...watching.keys()],
    has: (id: string): boolean => watching.has(id),
    add: (id: string, onChange: ContainerListener): (() => void) => {
      const listeners = watching.get(id) ?? new Set();
      watching.set(id, listeners.add(onChange));
      return () => {
        listeners.delete(onChange);
        if (listeners.size === 0 && watching.get(id) === listeners) watching.delete(id);
      };
    },
    notify: (id: string, view: ContainerView | undefined): void => {
      // A listener may add or remove listeners.
      const listeners = [...(watching.get(id) ?? [])];
      for (const onChange of listeners) onChange(view);
    },
  };
}
