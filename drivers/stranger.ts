import type { Labels } from "./driver.ts";

/**
 * A name is no claim: what another berth or a person made is not ours to replace. Who holds a name, in words for a sentence; undefined where it is the
 * container that wants it. `unmade` is what holds it where berth did not make that.
 */
export function foreignOwnerOf(
  holder: Labels | undefined,
  { store, container }: Pick<Labels, "store" | "container">,
  unmade = "something that berth did not make",
): string | undefined {
  if (holder === undefined) return unmade;
  if (holder.store === store && holder.container === container) return undefined;
  return `container ${holder.container} of another berth (store ${holder.store})`;
}
