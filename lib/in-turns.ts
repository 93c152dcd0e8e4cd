/** Calls `act` for each item in order, for at most `most` of them in one turn of the event loop: other work comes between. */
export async function inTurns<T>(items: Iterable<T>, most: number, act: (item: T) => void | Promise<void>): Promise<void> {
  let count = 0;
  for (const item of items) {
    if (count > 0 && count % most === 0) await new Promise(setImmediate);
    count++;
    const acting = act(item);
    if (acting !== undefined) await acting;
  }
}
