import type { ContainerView } from "./contract.ts";

type OnChange = (view: ContainerView | undefined) => void;

/** Who wants to hear of each container. */
export function watchers() {
  const watching = new Map<string, Set<OnChange>>();
  return {
    ids: (): string[] => [...watching.keys()],
    has: (id: string): boolean => watching.has(id),
    add: (id: string, onChange: OnChange): (() => void) => {
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
