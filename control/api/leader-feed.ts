import type { ServerResponse } from "node:http";
import { FEED_BEAT_MS, type FeedLine, WIRE_VERSION } from "../../gateway/contract.ts";
import { type FeedDeps, isLeading, openThrottle, SIGN_OUTS_MS } from "./feed-stream.ts";

/** A follower that leaves so much unread is gone; its process connects again. */
const MAX_UNREAD_BYTES = 16_384;

/** The feed of a process that needs no containers: it follows the leader, and knows which tokens count no longer. `followers`: the open ones. */
export function streamLeader(
  {
    version,
    leader,
    clock,
    watchSignOuts,
    revokedTokens,
    log,
  }: Pick<FeedDeps, "version" | "leader" | "clock" | "watchSignOuts" | "revokedTokens" | "log">,
  followers: Set<ServerResponse>,
  response: ServerResponse,
): void {
  let cancelBeat = () => {};
  let allowed = MAX_UNREAD_BYTES;
  const send = (line: FeedLine) => {
    if (response.destroyed || response.writableLength > allowed || !isLeading(leader)) return void response.destroy();
    const text = `${JSON.stringify(line)}\n`;
    allowed = Math.max(allowed, MAX_UNREAD_BYTES + text.length);
    response.write(text);
  };
  let sent = "[]";
  const sendRevoked = async () => {
    try {
      const tokens = (await revokedTokens?.()) ?? [];
      const text = JSON.stringify(tokens);
      if (text !== sent && !response.destroyed) send({ kind: "revoked", tokens });
      sent = text;
    } catch (err) {
      // The follower connects again.
      log.error({ err }, "revoked tokens cannot be listed");
      response.destroy();
    }
  };
  const signOuts = openThrottle(clock, SIGN_OUTS_MS, () => void sendRevoked());
  const unwatch = watchSignOuts(signOuts.call);
  const beat = () => {
    send({ kind: "beat" });
    cancelBeat = clock.after(FEED_BEAT_MS / 2, beat);
  };
  followers.add(response);
  response.once("close", () => {
    cancelBeat();
    unwatch();
    signOuts.close();
    followers.delete(response);
  });
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  send({ kind: "hello", gateway: "", version, wire: WIRE_VERSION, ...(leader === undefined ? {} : { epoch: leader.epoch }) });
  send({ kind: "all", containers: [] });
  void sendRevoked();
  beat();
}
