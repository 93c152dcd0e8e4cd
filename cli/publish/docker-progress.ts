/** What a line of `docker build` says about how far it is: a part of 1. Of the old builder `Step 2/5 : …`, of BuildKit `#7 [2/5] …`. */
export function buildPart(line: string): number | undefined {
  const [, at, all] = /^(?:Step |#\d+ \[(?:\S+ )?)\s*(\d+)\/(\d+)/.exec(line) ?? [];
  return at === undefined ? undefined : (Number(at) - 1) / Number(all);
}

const DONE = /^(Pushed|Layer already exists|Mounted from)/;

/** Of `docker push`, which tells of each layer by itself: how many of those that it spoke of have arrived. */
export function pushParts(): (line: string) => number | undefined {
  const layers = new Map<string, boolean>();
  return (line) => {
    const [, layer, state = ""] = /^([0-9a-f]{12}): (.*)$/.exec(line) ?? [];
    if (layer === undefined) return undefined;
    layers.set(layer, DONE.test(state));
    return [...layers.values()].filter(Boolean).length / layers.size;
  };
}
