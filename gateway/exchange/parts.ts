import type { Clock } from "../../lib/clock.ts";
import type { Log } from "../../lib/log.ts";
import type { Fault } from "../../lib/fault.ts";
import type { QueueBudget } from "../containers/queue-budget.ts";
import type { Answer, Decide } from "../decision.ts";
import type { Exchanged, Watch } from "../exchanges.ts";
import type { Http1 } from "../http1/open-http1.ts";
import type { GatewayLimits } from "../limits.ts";
import type { DialCounts } from "../connections/dial.ts";
import type { Draining } from "../connections/draining.ts";
import type { Link } from "../connections/link.ts";
import type { OpenLinks } from "../connections/reads.ts";
import type { Pool } from "./pool.ts";
import type { Ticker } from "./ticker.ts";

/** What all connections of one engine share. */
export type SpliceParts = {
  decide: Decide;
  /** What is said to bytes that are no request, and where `decide` fails. */
  refusal: (fault: Fault) => Answer;
  limits: GatewayLimits;
  clock: Clock;
  log: Log;
  http1: Http1;
  links: OpenLinks;
  pool: Pool;
  ticker: Ticker;
  draining: Draining;
  /** What waiting WebSockets have sent. */
  queues: QueueBudget;
  watch: Watch;
  dials: DialCounts;
  /** Keeps a connection that was upgraded among those that end with the engine, until `over` settles; then its exchange is over. */
  upgraded(link: Link, over: Promise<void>, exchanged: Exchanged): void;
};
