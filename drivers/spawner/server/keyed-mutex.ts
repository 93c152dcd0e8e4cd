/** What is done with one thing is done one after the other, in the order in which it was asked for; with others at the same time. */
export type Turns = { inTurn<T>(key: string, task: () => Promise<T>): Promise<T> };

export function openTurns(): Turns {
  const last = new Map<string, Promise<void>>();
  return {
    inTurn: (key, task) => {
      const mine = (last.get(key) ?? Promise.resolve()).then(task);
      const over = mine.then(
        () => undefined,
        () => undefined,
      );
      last.set(key, over);
      void over.then(() => void (last.get(key) === over && last.delete(key)));
      return mine;
    },
  };
}
