import { Fault } from "../../../lib/fault.ts";

/** A number of things that may go on at the same time. */
export type Bulkhead = {
  /** Takes a place; the returned function gives it back, once. Faults: SPAWNER_BUSY where there is none. */
  enter(): () => void;
};

const COME_AGAIN_MS = 2_000;

/** `what` ends the sentence "… at the same time are as many as this spawner takes". */
export function createBulkhead(most: number, what: string): Bulkhead {
  let taken = 0;
  return {
    enter: () => {
      if (taken >= most)
        throw new Fault("SPAWNER_BUSY", `${most} ${what} at the same time are as many as this spawner takes; ask again in a moment.`, {
          retryAfterMs: COME_AGAIN_MS,
        });
      taken++;
      let given = false;
      return () => {
        if (!given) taken--;
        given = true;
      };
    },
  };
}
