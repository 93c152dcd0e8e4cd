import type { Chain } from "./check.ts";
import type { Finding } from "./finding.ts";

/** A part of the way between a browser and a container that can break by itself. */
export type Link = {
  name: string;
  /** Links before it without which there is nothing to be seen here. */
  needs: readonly string[];
  /** How long the look may take; one that hangs is told as such. */
  ms: number | ((chain: Chain) => number);
  /** Whatever it makes, it says to the chain how that is removed before it makes it. Faults are what is wrong. */
  check(chain: Chain, signal: AbortSignal): Promise<Finding>;
  /** What to do where the look itself says no better. */
  advice: string;
};
