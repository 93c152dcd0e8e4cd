import type { ServerResponse } from "node:http";
import { FEED_BEAT_MS, type FeedLine, WIRE_VERSION } from "../../gateway/contract.ts";
import { type FeedDeps, isLeading } from "./feed-stream.ts";

/** A follower that leaves so much unread is gone; its process connects again. */
const MAX_UNREAD_BYTES = 16_384;

/** The feed of a process that only follows the leader: no containers, and no gateway. `followers`: the open ones. */
export function streamLeader(
  { version, leader, clock }: Pick<FeedDeps, "version" | "leader" | "clock">,
  followers: Set<ServerResponse>,
  response: ServerResponse,
): void {
  let cancelBeat = () => {};
  const send = (line: FeedLine) => {
    if (response.destroyed || response.writableLength > MAX_UNREAD_BYTES || !isLeading(leader)) return void response.destroy();
    response.write(`${JSON.stringify(line)}\n`);
  };
  const beat = () => {
    send({ kind: "beat" });
    cancelBeat = clock.after(FEED_BEAT_MS / 2, beat);
  };
  followers.add(response);
  response.once("close", () => {
    cancelBeat();
    followers.delete(response);
  });
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  send({ kind: "hello", gateway: "", version, wire: WIRE_VERSION, ...(leader === undefined ? {} : { epoch: leader.epoch }) });
  send({ kind: "all", containers: [] });
  beat();
}
