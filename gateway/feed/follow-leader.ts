import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import { type FeedLine, LEADER_FEED, type RevokedTokens } from "../contract.ts";
import type { ControlLink } from "./control-client.ts";
import { openFeedConnection } from "./feed-connection.ts";

/** The epochs of the leaders that were connected. */
export type LeaderEpochs = {
  /** This leader's, if it has one. Faults: CONTROL_STANDBY if a later leader was connected before: this one was deposed, and may not know it yet. */
  check(hello: Extract<FeedLine, { kind: "hello" }>): number | undefined;
  /** For the path of the next feed: a standby answers it when it knows a later leader. */
  query(): Record<string, string>;
};

export function createLeaderEpochs(link: Pick<ControlLink, "name">): LeaderEpochs {
  let last = 0;
  return {
    check: ({ epoch }) => {
      if (epoch === undefined) return undefined;
      if (epoch < last)
        throw new Fault(
          "CONTROL_STANDBY",
          `The control process at ${link.name} leads no longer: its epoch is ${epoch}, and another one had ${last}.`,
        );
      last = epoch;
      return epoch;
    },
    query: () => (last === 0 ? {} : { epoch: String(last) }),
  };
}

/**
 * Keeps the group of a link at the leader, for a process that needs no containers: by a feed without them, which ends when its control process stops
 * leading. `onRevoked` gets the docker tokens that count no longer. Without it there is nothing to follow where there is one control process.
 */
export function followLeader({
  link,
  onRevoked,
  clock,
  log,
}: {
  link: ControlLink;
  onRevoked?: (tokens: readonly RevokedTokens[]) => void;
  clock: Clock;
  log: Log;
}): { close(): void } {
  if (link.group === undefined && onRevoked === undefined) return { close: () => undefined };
  const epochs = createLeaderEpochs(link);
  let epoch: number | undefined;
  const onLine = (line: FeedLine) => {
    if (line.kind === "hello") epoch = epochs.check(line);
    if (line.kind === "revoked") onRevoked?.(line.tokens);
    if (line.kind === "all" && !line.more) link.group?.connected(epoch);
  };
  return openFeedConnection({
    link,
    path: () => `${LEADER_FEED}&${new URLSearchParams(epochs.query()).toString()}`,
    onLine,
    onLost: () => undefined,
    awayMessage: onRevoked
      ? "control is away: tokens that it revokes count until it answers"
      : "control is away: the leader is unknown until it answers",
    onRefused: (fault) => log.error({ fault: fault.code, control: link.name }, fault.message),
    clock,
    log,
  });
}
