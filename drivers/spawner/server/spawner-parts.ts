import type { Clock } from "../../../lib/clock.ts";
import type { Driver } from "../../driver.ts";
import type { Log } from "../../../lib/log.ts";
import type { Deploys } from "./deploys.ts";
import type { Bulkhead } from "./bulkhead.ts";
import type { Streams } from "./streams.ts";

/** Everything that the routes work with. */
export type SpawnerParts = {
  driver: Driver;
  /** The installation's name, in front of what foreign servers name. */
  environment: string;
  version: string;
  deploys: Deploys;
  validations: Bulkhead;
  streams: Streams;
  clock: Clock;
  log: Log;
};
